// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead/fairlead/internal/compile"
)

// arith gives an instance of default/arith.
func arith(t *testing.T, address string, ready bool) *compile.Instance {
	t.Helper()
	i, err := newInstance("default/arith", address, nil, ready)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// table says what leases hold, as text.
func table(l *leases, now time.Time) string {
	text := ""
	for _, i := range l.instances() {
		word := "suspect"
		if i.Ready {
			word = "ready"
		}
		text += fmt.Sprintf("%s %s %s; ", i.Address, word, l.byKey[i.Key()].ends.Sub(now))
	}
	return text
}

func TestLeases(t *testing.T) {
	start := time.Unix(1000, 0)
	const a, b = "127.0.0.1:1", "127.0.0.1:2"
	type step struct {
		after time.Duration // since the start
		do    string        // grant, lose, leave, expire
		what  string        // address
		who   uint64        // holder
		does  bool          // the change that it reports
		want  string
	}
	for name, steps := range map[string][]step{
		"renewal extends and changes nothing": {
			{0, "grant", a, 1, true, "127.0.0.1:1 ready 15s; "},
			{5 * time.Second, "grant", a, 1, false, "127.0.0.1:1 ready 15s; "},
			{19 * time.Second, "expire", "", 0, false, "127.0.0.1:1 ready 1s; "},
			{20 * time.Second, "expire", "", 0, true, ""},
		},
		"lost is suspect at once and its lease runs on": {
			{0, "grant", a, 1, true, "127.0.0.1:1 ready 15s; "},
			{0, "grant", b, 2, true, "127.0.0.1:1 ready 15s; 127.0.0.1:2 ready 15s; "},
			{4 * time.Second, "lose", "", 1, true, "127.0.0.1:1 suspect 11s; 127.0.0.1:2 ready 11s; "},
			{4 * time.Second, "lose", "", 1, false, "127.0.0.1:1 suspect 11s; 127.0.0.1:2 ready 11s; "},
			{5 * time.Second, "grant", b, 2, false, "127.0.0.1:1 suspect 10s; 127.0.0.1:2 ready 15s; "},
			{15 * time.Second, "expire", "", 0, true, "127.0.0.1:2 ready 5s; "},
		},
		"back in time is ready again": {
			{0, "grant", a, 1, true, "127.0.0.1:1 ready 15s; "},
			{1 * time.Second, "lose", "", 1, true, "127.0.0.1:1 suspect 14s; "},
			{2 * time.Second, "grant", a, 7, true, "127.0.0.1:1 ready 15s; "},
		},
		"what another holder took over stays": {
			{0, "grant", a, 1, true, "127.0.0.1:1 ready 15s; "},
			{1 * time.Second, "grant", a, 2, false, "127.0.0.1:1 ready 15s; "},
			{2 * time.Second, "lose", "", 1, false, "127.0.0.1:1 ready 14s; "},
			{2 * time.Second, "leave", a, 1, false, "127.0.0.1:1 ready 14s; "},
			{3 * time.Second, "leave", a, 2, true, ""},
			{3 * time.Second, "leave", a, 2, false, ""},
		},
		"what nobody holds may be left by anybody": {
			{0, "grant", a, 1, true, "127.0.0.1:1 ready 15s; "},
			{1 * time.Second, "lose", "", 1, true, "127.0.0.1:1 suspect 14s; "},
			{1 * time.Second, "leave", a, 2, true, ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := restoreLeases(nil, start)
			for i, s := range steps {
				now, does := start.Add(s.after), false
				switch s.do {
				case "grant":
					does, _ = l.grant(arith(t, s.what, true), s.who, now)
				case "lose":
					does = len(l.lose(s.who)) > 0
				case "leave":
					does = l.leave(arith(t, s.what, true).Key(), s.who)
				case "expire":
					does = len(l.expire(now)) > 0
				}
				if got := table(l, now); got != s.want || does != s.does {
					t.Fatalf("step %d, %s: %q, changed %t, want %q, %t", i, s.do, got, does, s.want, s.does)
				}
			}
		})
	}
}

func TestLeasesAreRestoredAsTheyWere(t *testing.T) {
	now := time.Unix(1000, 0)
	l := restoreLeases([]*compile.Instance{arith(t, "127.0.0.1:1", true), arith(t, "127.0.0.1:2", false)}, now)
	if got, want := table(l, now), "127.0.0.1:1 ready 15s; 127.0.0.1:2 suspect 15s; "; got != want {
		t.Fatalf("restored %q, want %q", got, want)
	}
	if got, want := l.next(), now.Add(leaseTime); !got.Equal(want) {
		t.Errorf("the first lease ends at %v, want %v", got, want)
	}
	// Nobody holds them: the end of a connection that is no holder's is not theirs.
	if lost := l.lose(1); len(lost) > 0 {
		t.Errorf("a stranger lost %d of them", len(lost))
	}
	if changed, err := l.grant(arith(t, "127.0.0.1:1", true), 9, now); changed || err != nil {
		t.Errorf("one that comes back as it was: changed %t, %v", changed, err)
	}
}

func TestLeasesNoticeWhatInstancesSay(t *testing.T) {
	l, now := restoreLeases(nil, time.Unix(0, 0)), time.Unix(0, 0)
	in := func(zone string) *compile.Instance {
		i, err := newInstance("default/arith", "127.0.0.1:1", map[string]string{"zone": zone}, true)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	var got []bool
	for _, zone := range []string{"a", "a", "b"} {
		changed, err := l.grant(in(zone), 1, now)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, changed)
	}
	if want := []bool{true, false, true}; !cmp.Equal(got, want) {
		t.Errorf("changes %v, want %v", got, want)
	}
}

func TestLeasesAreBounded(t *testing.T) {
	l, now := restoreLeases(nil, time.Unix(0, 0)), time.Unix(0, 0)
	for i := range maxLeases {
		if _, err := l.grant(arith(t, fmt.Sprintf("10.0.%d.%d:80", i/256, i%256), true), 1, now); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.grant(arith(t, "10.1.0.0:80", true), 1, now); err == nil {
		t.Error("one more than fits was taken")
	}
	if _, err := l.grant(arith(t, "10.0.0.0:80", true), 1, now); err != nil {
		t.Errorf("a full table does not renew: %v", err)
	}
}
