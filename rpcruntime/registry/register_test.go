// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

func TestRegister(t *testing.T) {
	bubble(t, Config{Identity: Identity{PodUID: "u"}}, func(t *testing.T, f *fake, c *Client) {
		f.register = func(r *RegisterRequest) (*RegisterReply, error) {
			if r.Leave {
				return new(RegisterReply), nil
			}
			return &RegisterReply{LeaseMillis: 15000}, nil
		}
		var told []error
		leave := c.Register(Registration{
			Service: arith, Address: "10.0.0.1:80", Zone: "z", Metadata: map[string]string{"b": "2", "a": "1"},
			OnError: func(err error) { told = append(told, err) },
		})
		synctest.Wait()
		if len(f.regs) != 1 || len(told) != 1 || told[0] != nil {
			t.Fatalf("registered %+v, told %v", f.regs, told)
		}
		if r := f.regs[0]; r.Service != arith || r.PodUID != "u" || r.Zone != "z" || len(r.Metadata) != 2 || r.Metadata[0].Key != "a" {
			t.Errorf("registered %+v", r)
		}
		f.pause(31 * time.Second)
		if n := len(f.regs); n != 7 { // renewed every 5 s
			t.Errorf("%d registrations in 31 s", n)
		}
		f.cut()
		f.pause(time.Second)
		if n := len(f.regs); n != 8 || len(f.conns) != 2 {
			t.Errorf("%d registrations on %d connections", n, len(f.conns))
		}
		f.pause(time.Millisecond)
		if err := leave(context.Background()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if r := f.regs[len(f.regs)-1]; !r.Leave {
			t.Errorf("left with %+v", r)
		}
		before := len(f.regs)
		f.pause(time.Minute)
		if len(f.regs) != before || c.Status().Connected {
			t.Errorf("%d more registrations, status %+v", len(f.regs)-before, c.Status())
		}
		if err := leave(context.Background()); err != nil {
			t.Error(err) // twice does no harm
		}
	})
}

func TestRegisterRefusedIsToldOnceAndTriedAgain(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var told []error
		leave := c.Register(Registration{Service: arith, Address: "10.0.0.1:80", OnError: func(err error) { told = append(told, err) }})
		f.pause(time.Minute)
		if len(told) != 1 || status.CodeOf(told[0]) != status.Unimplemented {
			t.Errorf("told %v", told)
		}
		if n := len(f.regs); n < 10 || n > 40 {
			t.Errorf("%d attempts", n)
		}
		f.set(func() {
			f.register = func(*RegisterRequest) (*RegisterReply, error) { return &RegisterReply{LeaseMillis: 15000}, nil }
		})
		f.pause(retryMax)
		synctest.Wait()
		if len(told) != 2 || told[1] != nil {
			t.Errorf("told %v", told)
		}
		f.set(func() { f.down = true })
		f.cut()
		f.pause(time.Minute)
		if err := leave(context.Background()); err != nil { // nobody to tell
			t.Error(err)
		}
	})
}
