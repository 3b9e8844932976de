// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

const issuer = "https://cluster"

// office is a cluster as far as tokens go.
type office struct {
	t *testing.T
	v *Verifier
	// metrics has what v counts.
	metrics *prometheus.Registry
	keys    map[string]*ecdsa.PrivateKey
	// known are the ids of the keys that are published.
	known   []string
	down    bool
	fetches int
	asked   int
	answer  func() (*authenticationv1.TokenReview, error)
	gone    []string
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, metrics: prometheus.NewRegistry(), keys: map[string]*ecdsa.PrivateKey{}, known: []string{"one"}}
	for _, id := range []string{"one", "two"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		o.keys[id] = key
	}
	v, err := New(Config{
		Client: kubernetes.New(nil), Audience: "fairlead", Metrics: o.metrics,
		Gone: func(uid string) { o.gone = append(o.gone, uid) },
	})
	if err != nil {
		t.Fatal(err)
	}
	v.keys.fetch = func(context.Context) (*published, error) {
		o.fetches++
		if o.down {
			return nil, errors.New("away")
		}
		p := &published{issuer: issuer}
		for _, id := range o.known {
			p.keys.Keys = append(p.keys.Keys, jose.JSONWebKey{Key: o.keys[id].Public(), KeyID: id, Algorithm: "ES256"})
		}
		return p, nil
	}
	v.reviewer.create = func(context.Context, *authenticationv1.TokenReview) (*authenticationv1.TokenReview, error) {
		o.asked++
		return o.answer()
	}
	o.v = v
	v.pods.Replace([]*corev1.Pod{podOf("u-1", "checkout-1")})
	return o
}

func podOf(uid, name string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: name}, Spec: corev1.PodSpec{ServiceAccountName: "checkout"}}
	p.UID = types.UID(uid)
	return p
}

// token signs one of the Pod u-1, changed.
func (o *office) token(key string, change ...func(map[string]any)) string {
	o.t.Helper()
	now := time.Now()
	c := map[string]any{
		"iss": issuer, "aud": []string{"fairlead"}, "exp": now.Add(time.Hour).Unix(), "nbf": now.Unix(),
		"kubernetes.io": map[string]any{
			"namespace": "web", "serviceaccount": map[string]any{"name": "checkout"}, "pod": map[string]any{"name": "checkout-1", "uid": "u-1"},
		},
	}
	for _, f := range change {
		f(c)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: o.keys[key], KeyID: key}}, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		o.t.Fatal(err)
	}
	return text
}

// counted gives how many were refused for a reason.
func (o *office) counted(reason string) float64 {
	o.t.Helper()
	families, err := o.metrics.Gather()
	if err != nil {
		o.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "fairlead_registry_refused_total" && l.GetValue() == reason {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	o.t.Errorf("no series for %s", reason)
	return 0
}

func (o *office) refused(token string, declared Declared, reason string) error {
	o.t.Helper()
	before := o.counted(reason)
	_, err := o.v.Authenticate(o.t.Context(), token, declared)
	want := status.Unauthenticated
	if reason == ReasonUnverifiable {
		want = status.Unavailable
	}
	if status.CodeOf(err) != want {
		o.t.Errorf("%v, want %v", err, want)
	}
	if o.counted(reason) != before+1 {
		o.t.Errorf("%v is not counted as %s", err, reason)
	}
	if token != "" && err != nil && strings.Contains(err.Error(), token) {
		o.t.Errorf("the error holds the token: %v", err)
	}
	return err
}

func (o *office) taken(token string, declared Declared) *Proven {
	o.t.Helper()
	p, err := o.v.Authenticate(o.t.Context(), token, declared)
	if err != nil {
		o.t.Fatal(err)
	}
	return p
}

func TestWhoIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		good := o.token("one")
		p := o.taken(good, Declared{"web", "u-1"})
		if p.Namespace != "web" || p.ServiceAccount != "checkout" || p.Pod != "checkout-1" || p.PodUID != "u-1" || p.Replica ||
			!p.Expires.Equal(time.Now().Add(time.Hour).Truncate(time.Second)) {
			t.Errorf("%+v", p)
		}
		o.taken(good, Declared{})
		o.refused("", Declared{}, ReasonNoToken)
		o.refused("a.b", Declared{}, ReasonMalformed)
		o.refused(strings.Repeat("x", 5000), Declared{}, ReasonMalformed)
		o.refused(good[:len(good)-4]+"AAAA", Declared{}, ReasonSignature)
		none := "eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + "."
		o.refused(none, Declared{}, ReasonMalformed)
		set := func(key string, value any) func(map[string]any) { return func(c map[string]any) { c[key] = value } }
		o.refused(o.token("one", set("aud", []string{"vault"})), Declared{}, ReasonAudience)
		o.refused(o.token("one", set("iss", "https://other")), Declared{}, ReasonIssuer)
		o.refused(o.token("one", set("exp", nil)), Declared{}, ReasonExpired)
		o.refused(o.token("one", set("nbf", time.Now().Add(2*time.Minute).Unix())), Declared{}, ReasonExpired)
		o.taken(o.token("one", set("nbf", time.Now().Add(30*time.Second).Unix())), Declared{})
		o.refused(o.token("one", set("kubernetes.io", map[string]any{"namespace": "web"})), Declared{}, ReasonPod)
		stolen := map[string]any{"namespace": "shop", "serviceaccount": map[string]any{"name": "checkout"}, "pod": map[string]any{"name": "checkout-1", "uid": "u-1"}}
		o.refused(o.token("one", set("kubernetes.io", stolen)), Declared{}, ReasonPod)
		o.refused(good, Declared{"shop", ""}, ReasonIdentity)
		o.refused(good, Declared{"web", "u-2"}, ReasonIdentity)

		time.Sleep(time.Hour) // of the bubble
		o.refused(good, Declared{}, ReasonExpired)
	})
}

func TestPodsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		good := o.token("one")
		o.taken(good, Declared{})
		ending := podOf("u-1", "checkout-1")
		now := metav1.Now()
		ending.DeletionTimestamp = &now
		o.v.pods.Set(ending) // it still runs, and drains
		o.taken(good, Declared{})
		ended := podOf("u-1", "checkout-1")
		ended.Status.Phase = corev1.PodFailed
		o.v.pods.Set(ended)
		o.refused(good, Declared{}, ReasonPod)
		o.v.pods.Set(podOf("u-1", "checkout-1"))
		o.v.pods.Replace([]*corev1.Pod{podOf("u-2", "checkout-1")})
		o.refused(good, Declared{}, ReasonPod)
		o.v.pods.Delete(podOf("u-3", "never-seen"))
		if len(o.gone) != 2 || o.gone[0] != "u-1" || o.gone[1] != "u-1" {
			t.Errorf("gone %v", o.gone)
		}
		o.v.pods = newPods(func(string) {})
		o.refused(good, Declared{}, ReasonUnverifiable)
	})
}

func TestKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		o.taken(o.token("one"), Declared{})
		o.refused(o.token("two"), Declared{}, ReasonSignature)
		for range 100 { // whoever sends what he likes makes nobody ask the API server
			o.refused(o.token("two"), Declared{}, ReasonSignature)
		}
		if o.fetches != 1 {
			t.Errorf("%d readings of the keys", o.fetches)
		}
		o.known = []string{"two"}
		time.Sleep(fetchAtMost)
		o.taken(o.token("two"), Declared{})
		o.refused(o.token("one"), Declared{}, ReasonSignature)
		if o.fetches != 2 || o.asked != 0 {
			t.Errorf("%d readings, %d reviews", o.fetches, o.asked)
		}
		// Without the API server, what is known stays.
		o.down = true
		time.Sleep(time.Minute)
		o.taken(o.token("two"), Declared{})
	})
}

func TestKeysAreReadOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		read, release := o.v.keys.fetch, make(chan struct{})
		o.v.keys.fetch = func(ctx context.Context) (*published, error) {
			<-release
			return read(ctx)
		}
		good := o.token("one")
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { o.taken(good, Declared{}) })
		}
		synctest.Wait()
		close(release)
		all.Wait()
		if o.fetches != 1 {
			t.Errorf("%d readings", o.fetches)
		}
	})
}

func TestReviewIsTheLastResort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		o.down = true
		good := o.token("one")
		review := &authenticationv1.TokenReview{Status: authenticationv1.TokenReviewStatus{
			Authenticated: true, Audiences: []string{"fairlead"},
			User: authenticationv1.UserInfo{Username: "system:serviceaccount:web:checkout", Extra: map[string]authenticationv1.ExtraValue{
				extraPodName: {"checkout-1"}, extraPodUID: {"u-1"},
			}},
		}}
		o.answer = func() (*authenticationv1.TokenReview, error) { return review, nil }
		if p := o.taken(good, Declared{}); p.PodUID != "u-1" || p.ServiceAccount != "checkout" || p.Expires.IsZero() {
			t.Errorf("%+v", p)
		}
		review.Status.Audiences = []string{"https://cluster"}
		o.refused(good, Declared{}, ReasonAudience)
		review.Status.Audiences, review.Status.User.Username = []string{"fairlead"}, "alice"
		o.refused(good, Declared{}, ReasonSignature)
		review.Status.Authenticated = false
		o.refused(good, Declared{}, ReasonSignature)
		o.answer = func() (*authenticationv1.TokenReview, error) { return nil, errors.New("away") }
		o.refused(good, Declared{}, ReasonUnverifiable)

		before := o.asked
		for range 200 {
			o.refused(good, Declared{}, ReasonUnverifiable)
		}
		if n := o.asked - before; n > reviewsAtOnce {
			t.Errorf("%d reviews at once", n)
		}
	})
}

func TestReviewIsSharedByAllWhoAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		release := make(chan struct{})
		o.answer = func() (*authenticationv1.TokenReview, error) {
			<-release
			return nil, errors.New("away")
		}
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := o.v.reviewer.review(t.Context(), "token"); err == nil || errors.Is(err, errTooMany) {
					t.Errorf("%v", err)
				}
			})
		}
		synctest.Wait()
		close(release)
		all.Wait()
		if o.asked != 1 || len(o.v.reviewer.flights) != 0 {
			t.Errorf("%d reviews, %d left", o.asked, len(o.v.reviewer.flights))
		}
	})
}

func TestReplicasKnowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		o.v.cfg.OwnToken = filepath.Join(t.TempDir(), "token")
		good := o.token("one")
		if o.taken(good, Declared{}).Replica {
			t.Error("a replica without a token of ours")
		}
		if err := os.WriteFile(o.v.cfg.OwnToken, []byte(good+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if !o.taken(good, Declared{}).Replica {
			t.Error("not known as a replica")
		}
		o.v.own.serviceAccount = "another"
		if o.taken(good, Declared{}).Replica {
			t.Error("another ServiceAccount is a replica")
		}
	})
}

// TestManualHasEveryReason: docs/operations.md says what to do about each.
func TestManualHasEveryReason(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range reasons() {
		if !strings.Contains(string(text), "\n| `"+reason+"` | ") {
			t.Errorf("docs/operations.md has no row for the reason %s", reason)
		}
	}
}
