// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// event is one line: a frame, or a note. Its texts are as the peers sent them;
// whoever prints them makes them safe.
type event struct {
	Time      time.Time `json:"time"`
	Client    string    `json:"client"`
	Server    string    `json:"server"`
	Direction string    `json:"direction"`
	Kind      string    `json:"kind"`
	Note      string    `json:"note,omitempty"`
	*FrameInfo
}

// FrameInfo is what is known of a frame.
type FrameInfo struct {
	Seq       uint64 `json:"seq"`
	Path      string `json:"path"`
	Method    string `json:"method"`
	Serialize string `json:"serialize"`
	Compress  string `json:"compress"`
	Oneway    bool   `json:"oneway,omitempty"`
	// Status is "ok" or "error", of responses.
	Status string `json:"status,omitempty"`
	Code   string `json:"code,omitempty"`
	Error  string `json:"error,omitempty"`
	Retry  string `json:"retry,omitempty"`
	// Control is what a control frame says.
	Control string `json:"control,omitempty"`
	// Bytes is the length of the frame, Missing how many of them were not captured.
	Bytes    uint64 `json:"bytes"`
	Metadata uint64 `json:"metadataBytes"`
	Payload  uint64 `json:"payloadBytes"`
	Missing  uint64 `json:"missingBytes,omitempty"`
	// Partial: so little of the frame was kept that the lengths of metadata and
	// payload, and perhaps the names, are not known.
	Partial bool           `json:"partial,omitempty"`
	Took    *time.Duration `json:"tookNanos,omitempty"`
	// The rest is there with -v.
	Entries []entry  `json:"metadata,omitempty"`
	Text    string   `json:"payload,omitempty"`
	Notes   []string `json:"payloadNotes,omitempty"`
}

type entry struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// maxEntries is how many entries of metadata are shown.
const maxEntries = 256

func (e *event) fill(f head, lost uint64, opts *Options) {
	path, method := f.names()
	e.FrameInfo = &FrameInfo{
		Seq: f.Seq, Path: path, Method: method, Partial: f.missing != "",
		Serialize: codec.Type(f.Serialize()).String(), Compress: codec.CompressType(f.Compress()).String(), Oneway: f.Oneway(),
		Bytes: f.size, Metadata: f.meta.size, Payload: f.payload.size, Missing: lost,
	}
	meta := wire.Meta(f.meta.kept)
	if f.Response() && !f.Heartbeat() {
		e.outcome(f.Status(), meta)
	}
	if e.Kind == "control" && f.payload.whole() {
		e.Control = controlText(string(f.method.kept), f.payload.kept)
	}
	if !opts.Verbose {
		return
	}
	for k, v := range meta.All() {
		if len(e.Entries) == maxEntries {
			e.Notes = append(e.Notes, "more metadata is not shown")
			break
		}
		e.Entries = append(e.Entries, entry{clipped(string(k), maxName), entryText(k, v, opts.maxPayload())})
	}
	if f.payload.size > 0 && e.Control == "" {
		text, notes := payloadText(f.Serialize(), f.Compress(), f.payload, opts.maxPayload())
		e.Text, e.Notes = text, append(e.Notes, notes...)
	}
}

// outcome reads what a response says of its call. docs/wire-protocol.md §9, §10
func (e *event) outcome(s wire.Status, meta wire.Meta) {
	if e.Status = "ok"; s == wire.StatusNormal {
		return
	}
	e.Status = "error"
	if text, ok := meta.Get(wire.KeyError); ok {
		e.Error = clipped(string(text), maxName)
	}
	if text, ok := meta.Get(wire.KeyCode); ok {
		n, err := strconv.ParseUint(string(text), 10, 32)
		if e.Code = status.FromNumber(n).String(); err != nil {
			e.Code = clipped(string(text), maxName)
		}
	}
	if text, ok := meta.Get(wire.KeyRetry); ok {
		e.Retry = string(wire.AppendRetry(nil, wire.ParseRetry(text)))
	}
}

// controlText is what a control frame says. docs/wire-protocol.md §8
func controlText(method string, payload []byte) string {
	switch method {
	case wire.MethodHello:
		if h, ok := wire.ParseHello(payload); ok {
			return fmt.Sprintf("to=%016x features=%s", h.Seq, strings.Join(h.Features, ","))
		}
	case wire.MethodDrain:
		if grace, ok := wire.ParseDrain(payload); ok {
			return "grace=" + grace.String()
		}
	case wire.MethodBye:
		if read, ok := wire.ParseBye(payload); ok {
			return fmt.Sprintf("read=%d", read)
		}
	case wire.MethodCancel:
		if seq, ok := wire.ParseCancel(payload); ok {
			return fmt.Sprintf("cancels=%d", seq)
		}
	case wire.MethodWindow:
		if w, ok := wire.ParseWindow(payload); ok {
			return fmt.Sprintf("max-calls=%d max-bytes=%d", w.Calls, w.Bytes)
		}
	case wire.MethodLoad:
		if l, ok := wire.ParseLoad(payload); ok {
			return fmt.Sprintf("in-flight=%d queue-delay=%s utilisation=%d‰", l.InFlight, l.QueueDelay, l.Utilisation)
		}
	}
	if len(payload) == 0 {
		return ""
	}
	return "payload=0x" + hex.EncodeToString(payload[:min(len(payload), 64)])
}
