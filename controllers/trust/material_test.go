// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"crypto/x509"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	start  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)                                   // constant
	paces  = pace{lifetime: 300 * 24 * time.Hour, leaf: 24 * time.Hour, settle: time.Hour} // constant
	oneDay = 24 * time.Hour                                                                // constant
)

// history drives decisions through time.
type history struct {
	t *testing.T
	m *Material
	c circumstances
}

func (h *history) decide(after time.Duration, want step) {
	h.t.Helper()
	h.c.now = h.c.now.Add(after)
	next, done, err := decide(h.m, h.c, paces, func() (*Authority, error) { return newAuthority(h.c.now, paces.lifetime) })
	if err != nil || done != want {
		h.t.Fatalf("at %s: step %q, %v; want %q", h.c.now.Sub(start), done, err, want)
	}
	h.m = next
}

// takes says whether who believes a bundle takes a certificate.
func takes(t *testing.T, bundle []byte, by *Authority, now time.Time) bool {
	t.Helper()
	leaf, err := by.issue(now, time.Hour, []string{"registry.example", "10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(bundle)
	_, err = leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "registry.example", CurrentTime: now})
	return err == nil && leaf.Leaf.VerifyHostname("10.0.0.1") == nil
}

func TestRotationSteps(t *testing.T) {
	h := &history{t: t, c: circumstances{now: start}}
	h.decide(0, stepMade)
	first := h.m
	h.decide(paces.lifetime*2/3, stepNone)
	h.decide(time.Second, stepAnnounce)
	announced := h.m
	if !h.m.Current.same(first.Current) {
		t.Error("the new authority signs at once")
	}
	h.decide(paces.settle-time.Second, stepNone)
	h.decide(time.Second, stepSwitch)
	switched := h.m
	if !h.m.Current.same(announced.Next) || h.m.Previous == nil || h.m.Next != nil {
		t.Errorf("after the switch: %+v", h.m)
	}
	h.decide(paces.leaf, stepNone)
	h.decide(paces.settle, stepForget)
	h.decide(oneDay, stepNone)
	// Whoever believes what was said in one state takes certificates of the states
	// beside it.
	states := []*Material{first, announced, switched, h.m}
	for i := range states {
		for j := max(i-1, 0); j <= min(i+1, 3); j++ {
			if !takes(t, states[i].Bundle(), states[j].Current, h.c.now) {
				t.Errorf("state %d does not take certificates of state %d", i, j)
			}
		}
	}
	if takes(t, h.m.Bundle(), first.Current, h.c.now) {
		t.Error("the old authority is still believed")
	}
}

func TestRotationWaits(t *testing.T) {
	h := &history{t: t, c: circumstances{now: start}}
	h.decide(0, stepMade)
	h.c.asked = "please"
	h.decide(time.Second, stepAnnounce)
	h.c.lack = 1
	h.decide(9*paces.settle, stepNone)
	h.decide(paces.settle, stepSwitch) // one old client does not keep it for ever
	h.c.asked = "again"
	h.decide(time.Second, stepNone)
	h.decide(paces.leaf+paces.settle, stepForget)
	h.decide(0, stepAnnounce)
	h.c.lack = 0
	h.decide(paces.settle, stepSwitch)
	h.decide(paces.leaf+paces.settle, stepForget)
	h.decide(0, stepNone) // asked once, done once
}

func TestRotationIsTooLate(t *testing.T) {
	h := &history{t: t, c: circumstances{now: start}}
	h.decide(0, stepMade)
	h.decide(paces.lifetime-time.Minute, stepAnnounce) // the operator was away for long
	h.c.lack = 3
	h.decide(2*time.Minute, stepSwitch) // what signs has ended
}

func TestSecretHoldsEverything(t *testing.T) {
	h := &history{t: t, c: circumstances{now: start, asked: "a"}}
	h.decide(0, stepMade)
	states := []*Material{h.m}
	h.c.asked = "b"
	h.decide(time.Second, stepAnnounce)
	states = append(states, h.m)
	h.decide(paces.settle, stepSwitch)
	states = append(states, h.m)
	for i, m := range states {
		laid, err := m.lay("ns", "name")
		if err != nil {
			t.Fatal(err)
		}
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: laid.Annotations}, Data: laid.Data}
		got, err := read(secret)
		if err != nil || !got.equal(m) || !bytes.Equal(got.Bundle(), m.Bundle()) {
			t.Errorf("state %d came back as %+v: %v", i, got, err)
		}
		if got.equal(states[(i+1)%len(states)]) {
			t.Errorf("state %d equals another", i)
		}
		// Who applies it over another state leaves nothing of that.
		for _, key := range []string{keyNextCert, keyNextKey, keyPrevious} {
			if _, there := laid.Data[key]; !there {
				t.Errorf("state %d leaves %s to others", i, key)
			}
		}
		for _, broken := range []string{keyCert, keyKey} {
			secret.Data[broken] = []byte("-----BEGIN NONSENSE-----")
			if _, err := read(secret); err == nil {
				t.Errorf("state %d is read without %s", i, broken)
			}
			secret.Data[broken] = laid.Data[broken]
		}
	}
}

func TestLeafEndsWithItsAuthority(t *testing.T) {
	a, err := newAuthority(start, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.issue(start.Add(50*time.Minute), oneDay, []string{"x"})
	if err != nil || !leaf.Leaf.NotAfter.Equal(a.Cert.NotAfter) {
		t.Errorf("until %v, the authority until %v: %v", leaf.Leaf.NotAfter, a.Cert.NotAfter, err)
	}
}
