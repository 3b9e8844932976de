// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// tokens is a source whose token changes.
type tokens struct {
	now atomic.Pointer[string]
	err error
}

func (s *tokens) set(token string) { s.now.Store(&token) }

func (s *tokens) token(context.Context) (string, error) {
	if s.err != nil {
		return "", s.err
	}
	return *s.now.Load(), nil
}

func TestTokenIsSentAnewWhenItChanges(t *testing.T) {
	source := &tokens{}
	source.set("one")
	bubble(t, Config{Token: source.token}, func(t *testing.T, f *fake, c *Client) {
		f.secure = true
		c.Watch(arith, policy.Caller, &notes{})
		synctest.Wait()
		if got := f.subs[0].Token; got != "one" {
			t.Errorf("subscribed with %q", got)
		}
		f.pause(time.Hour)
		if len(f.renews) != 0 {
			t.Errorf("renewed with %q, which is no other", f.renews)
		}
		source.set("two")
		f.pause(renewInterval)
		f.pause(renewInterval)
		if len(f.renews) != 1 || f.renews[0] != "two" || len(f.dials) != 1 || len(f.subs) != 1 {
			t.Errorf("renewals %q, %d dials, %d subscriptions", f.renews, len(f.dials), len(f.subs))
		}
		source.set("three")
		f.cut()
		f.pause(time.Second)
		if got := f.subs[len(f.subs)-1].Token; got != "three" {
			t.Errorf("subscribed anew with %q", got)
		}
		f.pause(time.Minute)
		if len(f.renews) != 1 {
			t.Errorf("renewals %q", f.renews)
		}
	})
}

func TestTokenStaysAtHomeWithoutTLS(t *testing.T) {
	source := &tokens{}
	source.set("one")
	bubble(t, Config{Token: source.token, Trust: NewTrust("/nowhere", "", Config{}.Log)}, func(t *testing.T, f *fake, c *Client) {
		c.Watch(arith, policy.Caller, &notes{})
		synctest.Wait()
		source.set("two")
		f.pause(time.Minute)
		if f.subs[0].Token != "" || len(f.renews) != 0 {
			t.Errorf("sent %q and %q in plaintext", f.subs[0].Token, f.renews)
		}
		f.push(&TrustFrame{Bundle: []byte(somePEM(t, "evil"))})
		if !c.cfg.Trust.Digest().IsZero() {
			t.Error("an authority that came in plaintext is believed")
		}
	})
}

func TestRefusalSaysThatThereIsNoToken(t *testing.T) {
	source := &tokens{err: errors.New("open /x/token: no such file")}
	bubble(t, Config{Token: source.token}, func(t *testing.T, f *fake, c *Client) {
		f.secure = true
		f.answer = func(*SubscribeRequest) (*SubscribeReply, error) {
			return nil, status.New(status.Unauthenticated, "no-token")
		}
		var n notes
		c.Watch(arith, policy.Caller, &n)
		got := n.one(t, "ambient")
		if status.CodeOf(got.err) != status.Unauthenticated || !strings.Contains(got.err.Error(), "/x/token") {
			t.Errorf("got %v", got.err)
		}
	})
}

func TestResolve(t *testing.T) {
	var err atomic.Pointer[error]
	missing := errors.New("no file address")
	err.Store(&missing)
	resolve := func() ([]string, error) {
		if e := err.Load(); e != nil {
			return nil, *e
		}
		return []string{"reg:7"}, nil
	}
	bubble(t, Config{Resolve: resolve, Addresses: []string{}}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		if got := n.one(t, "ambient"); !errors.Is(got.err, missing) {
			t.Errorf("got %v", got.err)
		}
		err.Store(nil) // what is mounted came late
		f.pause(retryMax)
		if f.last().address != "reg:7" || !c.Status().Connected {
			t.Errorf("status %+v", c.Status())
		}
	})
}
