// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

func TestNotFound(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		f.answer = func(*SubscribeRequest) (*SubscribeReply, error) {
			return &SubscribeReply{Epoch: "e1", Revision: 5, Refused: []Refusal{
				{Service: "shop/airth", Role: policy.Caller, Reason: ReasonNotFound, Near: []string{arith}},
			}}, nil
		}
		var n notes
		c.Watch("shop/airth", policy.Caller, &n)
		got := n.one(t, "invalid")
		var missing *NotFoundError
		if !errors.As(got.err, &missing) || status.CodeOf(got.err) != status.NotFound {
			t.Fatalf("got %v", got.err)
		}
		// The text is the product.
		want := `no service "shop/airth" in the registry reg:1 (as of ` + time.Now().Format(time.TimeOnly) + `); did you mean "shop/arith"?`
		if missing.Error() != want {
			t.Errorf("got  %s\nwant %s", missing, want)
		}
	})
}

// A refusal that was made before a change and comes after it means nothing.
func TestRefusalDoesNotOvertakeAChange(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		hold := make(chan struct{})
		f.answer = func(*SubscribeRequest) (*SubscribeReply, error) {
			f.mu.Unlock()
			<-hold
			f.mu.Lock()
			return &SubscribeReply{Epoch: "e1", Revision: 4, Refused: []Refusal{{Service: arith, Role: policy.Caller, Reason: ReasonNotFound}}}, nil
		}
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		all := state(service(t, time.Second, "a"), at(1))
		all[2].(*ChangeFrame).Revision = 5
		f.push(all...)
		n.one(t, "changed")
		close(hold)
		n.none(t)
	})
}

func TestGoneIsKeptForAWhile(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n, late notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		all := state(service(t, time.Second, "a"), at(1))
		f.push(all...)
		n.one(t, "changed")
		gone := &GoneFrame{Service: arith, Role: policy.Caller, Epoch: "e1", AsOf: at(0)}
		f.push(gone)
		n.one(t, "ambient") // from one that has not seen what is held
		gone.AsOf = at(2)
		f.push(gone)
		var err *GoneError
		if got := n.one(t, "invalid"); !errors.As(got.err, &err) || err.Forgotten || status.CodeOf(got.err) != status.NotFound {
			t.Fatalf("got %v", got.err)
		}
		c.Watch(arith, policy.Caller, &late)
		if got := late.take(); len(got) != 2 || got[0].what != "changed" || got[1].what != "invalid" {
			t.Errorf("a late watcher gets %+v", got)
		}
		f.pause(forgetAfter - time.Second)
		n.none(t)
		f.pause(time.Second)
		if got := n.one(t, "invalid"); !errors.As(got.err, &err) || !err.Forgotten {
			t.Errorf("got %v", got.err)
		}
		f.push(all...)
		n.one(t, "changed") // it came back
		f.pause(2 * forgetAfter)
		n.none(t)
	})
}
