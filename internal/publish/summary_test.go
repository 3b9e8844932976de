// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// TestSummaryIsForReplicas refuses everybody else, and whoever nobody vouches for.
func TestSummaryIsForReplicas(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		b.watch(b.client(registry.Config{}), arith, policy.Caller)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for name, judge := range map[string]func(context.Context) bool{
			"nobody judges": nil, "a stranger": func(context.Context) bool { return false },
		} {
			s.service.cfg.IsPeer = judge
			if _, err := s.service.Summary(t.Context(), &SummaryRequest{}); status.CodeOf(err) != status.PermissionDenied {
				t.Errorf("%s: %v", name, err)
			}
		}
		s.service.cfg.IsPeer, s.service.cfg.Replica = func(context.Context) bool { return true }, "one"
		got, err := s.service.Summary(t.Context(), &SummaryRequest{})
		if err != nil || got.Replica != "one" || len(got.Counts) != 1 || got.Counts[0].Clients != 1 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// TestSummaryOnTheWire fixes what replicas of different versions say to each
// other in a rolling update.
func TestSummaryOnTheWire(t *testing.T) {
	clients := 3
	reply := &SummaryReply{Replica: "one", Clients: &clients, Counts: []AckCount{{
		Service: arith, Role: policy.Caller, Namespace: "web", Digest: policy.Digest{1}, Features: "retry,timeout", Version: "v1", Clients: 2, Rejected: 1,
	}}}
	encoded, err := (codec.MsgPack{}).Append(nil, reply)
	if err != nil {
		t.Fatal(err)
	}
	want := "\x83\xa1r\xa3one\xa1c\x91\x88\xa1s\xaashop/arith\xa1r\xa6Caller\xa2ns\xa3web\xa1d\xc4\x10\x01" + string(make([]byte, 15)) +
		"\xa1f\xadretry,timeout\xa1v\xa2v1\xa1n\x02\xa1x\x01\xa1n\x03"
	if !bytes.Equal(encoded, []byte(want)) {
		t.Errorf("got  %q\nwant %q", encoded, want)
	}
	var back SummaryReply
	if err := (codec.MsgPack{}).Decode(encoded, &back); err != nil || back.Counts[0] != reply.Counts[0] {
		t.Errorf("came back as %+v, %v", back, err)
	}
	request, err := (codec.MsgPack{}).Append(nil, &SummaryRequest{All: Totals{Clients: 5, Replicas: 2}})
	if want := "\x81\xa1a\x82\xa1n\x05\xa1r\x02"; err != nil || string(request) != want {
		t.Errorf("a request is %q, %v, want %q", request, err, want)
	}
	// What replicas say that know nothing of balance.
	var old SummaryRequest
	var bare SummaryReply
	if err := (codec.MsgPack{}).Decode([]byte("\x80"), &old); err != nil || old.All.Replicas != 0 {
		t.Errorf("an empty request is %+v, %v", old, err)
	}
	if err := (codec.MsgPack{}).Decode([]byte("\x81\xa1r\xa3one"), &bare); err != nil || bare.Clients != nil {
		t.Errorf("a reply without clients is %+v, %v", bare, err)
	}
}
