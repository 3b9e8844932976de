// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
)

func TestComplaints(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	c := newComplaints(func() time.Time { return now })
	web, shop := bearer{namespace: "web", podUID: "u-1"}, bearer{namespace: "shop", podUID: "u-2"}
	said := func(who bearer, reason string, want bool, unsaid int) {
		t.Helper()
		if n, say := c.about(who, reason); say != want || n != unsaid {
			t.Errorf("%s for %s: said %v with %d unsaid, want %v with %d", who.namespace, reason, say, n, want, unsaid)
		}
	}
	said(web, ReasonExpired, true, 0)
	for range 100 { // it tries again and again
		now = now.Add(3 * time.Second)
		said(web, ReasonExpired, false, 0)
	}
	said(shop, ReasonExpired, true, 100) // somebody else
	said(web, ReasonAudience, true, 0)   // another reason
	now = now.Add(complainAgain)
	said(web, ReasonAudience, true, 0)
	said(web, ReasonAudience, false, 0)
}

// TestComplaintsAreBounded: strangers fill neither memory nor log.
func TestComplaintsAreBounded(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	c := newComplaints(func() time.Time { return now })
	said, first := 0, bearer{podUID: "0"}
	for i := range 100 {
		if _, say := c.about(bearer{podUID: fmt.Sprint(i)}, ReasonSignature); say {
			said++
		}
	}
	if said != complainBurst {
		t.Errorf("%d were logged at once, want %d", said, complainBurst)
	}
	for i := range 2 * complainAtMost { // all of them within what makes no entry old
		now = now.Add(complainEvery / 10)
		c.room.SetBurstAt(now, complainAtMost)
		c.room.SetLimitAt(now, 1000)
		c.about(bearer{podUID: fmt.Sprint("s", i)}, ReasonSignature)
	}
	if _, there := c.last[first]; len(c.last) != complainAtMost || there {
		t.Errorf("%d bearers are kept, the oldest %v; want %d without it", len(c.last), there, complainAtMost)
	}
	now = now.Add(complainAgain)
	c.about(bearer{podUID: "new"}, ReasonSignature)
	if len(c.last) != 1 {
		t.Errorf("%d bearers are kept after all are old", len(c.last))
	}
}

// TestRefusalIsLoggedOnce: the log names who and why, the metric counts all.
func TestRefusalIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		var lines []string
		o.v.cfg.Log = funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
		good := o.token("one")
		for range 50 {
			o.refused(good, Declared{Namespace: "shop"}, ReasonIdentity)
			time.Sleep(5 * time.Second) // of the bubble
		}
		if len(lines) != 1 || o.counted(ReasonIdentity) != 50 {
			t.Errorf("%d lines, %v counted: %q", len(lines), o.counted(ReasonIdentity), lines)
		}
		o.refused("", Declared{Namespace: "shop", PodUID: "u-9"}, ReasonNoToken)
		if len(lines) != 2 {
			t.Errorf("%q", lines)
		}
	})
}
