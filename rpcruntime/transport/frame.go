// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// outFrame is a frame to be appended: header, names, metadata, payload.
type outFrame struct {
	header       wire.Header
	path, method string
	// pathBytes and methodBytes are used instead if path is empty: an answer
	// repeats the request's, which would cost a string each.
	pathBytes, methodBytes []byte

	user    map[string]string
	extra   [4]pair
	extras  int
	payload []byte
	// raw is a metadata block to repeat as it came; then there are no entries.
	raw wire.Meta
	// request: the frame is an ordinary request, which the peer counts.
	request bool
	// announce, if not nil, is put into the connection's first ordinary request.
	announce *wire.Announcement
}

// pair is a metadata entry; a nil value stands for n in decimal.
type pair struct {
	key   string
	value []byte
	n     int64
}

// maxInt is the most digits that a number has, with its sign.
const maxInt = 20

func (f *outFrame) add(key string, value []byte) {
	f.extra[f.extras] = pair{key: key, value: value}
	f.extras++
}

func (f *outFrame) addInt(key string, n int64) {
	f.extra[f.extras] = pair{key: key, n: n}
	f.extras++
}

// size is the most that the frame of a request takes on the wire, without an
// announcement.
func (f *outFrame) size() int {
	meta := 0
	for k, v := range f.user {
		meta += wire.PairLen(len(k), len(v))
	}
	for _, p := range f.extra[:f.extras] {
		meta += wire.PairLen(len(p.key), max(len(p.value), maxInt))
	}
	return wire.FrameLen(len(f.path), len(f.method), meta, len(f.payload))
}

// build appends everything but a payload that goes by reference.
func (f *outFrame) build(dst []byte, announcement []byte) (out []byte, byRef bool) {
	var b wire.Builder
	if f.path == "" && f.pathBytes != nil {
		b = wire.Begin(dst, f.header, string(f.pathBytes), string(f.methodBytes)) // on the stack, unless long
	} else {
		b = wire.Begin(dst, f.header, f.path, f.method)
	}
	if announcement != nil {
		b.MetaBytes(wire.KeyAnnounce, announcement)
	}
	for k, v := range f.raw.All() {
		b.MetaBytes(string(k), v)
	}
	for k, v := range f.user {
		b.Meta(k, v)
	}
	for _, p := range f.extra[:f.extras] {
		if p.value == nil {
			var digits [maxInt]byte
			b.MetaBytes(p.key, strconv.AppendInt(digits[:0], p.n, 10))
			continue
		}
		b.MetaBytes(p.key, p.value)
	}
	if len(f.payload) >= byReference {
		return b.PayloadFollows(len(f.payload)), true
	}
	return b.Payload(f.payload), false
}

// send appends an ordinary frame, waiting for room, and writes it along with
// what others appended. s, if not nil, learns where its request stands.
// An error means that not a byte of it will leave.
func (w *writer) send(ctx context.Context, deadline time.Time, f *outFrame, s *slot, others bool) error {
	if err := w.admit(ctx, deadline); err != nil {
		return err
	}
	w.appendLocked(f, s)
	start := w.startLocked()
	if !start && w.yielding && len(w.data)+w.refBytes >= fullBatch {
		w.yielding = false
		start, others = true, false
	}
	w.mu.Unlock()
	if start {
		w.help(deadline, others)
	}
	return nil
}

// post appends an ordinary frame without waiting or writing: for the reader.
func (w *writer) post(f *outFrame) error {
	w.mu.Lock()
	if w.closed != nil {
		defer w.mu.Unlock()
		return w.closed
	}
	w.appendLocked(f, nil)
	start := w.startLocked()
	w.mu.Unlock()
	if start {
		w.goFlush()
	}
	return nil
}

// appendLocked appends a frame to data. REQUIRES: closed is nil.
func (w *writer) appendLocked(f *outFrame, s *slot) {
	var announcement []byte
	if f.announce != nil && w.requests == 0 {
		a := *f.announce
		a.Seq = f.header.Seq
		announcement = wire.AppendAnnouncement(nil, a)
		w.announced = a.Seq
	}
	w.wakeLocked()
	before := w.appended
	at := len(w.data)
	var byRef bool
	w.data, byRef = f.build(w.data, announcement)
	w.appended += uint64(len(w.data) - at)
	if byRef {
		w.refs = append(w.refs, ref{at: len(w.data), b: f.payload})
		w.refBytes += len(f.payload)
		w.appended += uint64(len(f.payload))
	}
	w.cfg.Counters.WriteBuffered.Add(int64(w.appended - before))
	if f.request {
		w.requests++
	}
	if s != nil {
		s.start, s.end, s.number = before, w.appended, w.requests
		if f.header.Oneway() {
			w.oneways = append(w.oneways, oneway{s, s.seq})
		}
	}
}

// control appends a control frame or heartbeat, which passes waiting data, and
// lets the flusher write it. It may be called by the reader.
func (w *writer) control(h wire.Header, path, method string, payload []byte) {
	w.mu.Lock()
	if w.closed != nil {
		w.mu.Unlock()
		return
	}
	w.wakeLocked()
	before := len(w.ctl)
	b := wire.Begin(w.ctl, h, path, method)
	w.ctl = b.Payload(payload)
	w.cfg.Counters.WriteBuffered.Add(int64(len(w.ctl) - before))
	start := w.startLocked()
	w.mu.Unlock()
	if start {
		w.goFlush()
	}
}

// controlPiles reports whether control frames wait to be written because the peer
// does not read: those that can be left out then are.
func (w *writer) controlPiles() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.ctl) > maxControl
}

// maxControl is what control frames may wait that belong together, as hello,
// window, load and drain do.
const maxControl = 1 << 10

// room blocks while more than twice the bound waits, so that a peer that sends
// but does not read cannot make the reader's answers pile up.
func (w *writer) room() {
	w.mu.Lock()
	for w.closed == nil && w.waiting()+len(w.ctl) >= 2*w.cfg.WriteBuffer {
		if w.space == nil {
			w.space = make(chan struct{})
		}
		space := w.space
		w.mu.Unlock()
		<-space
		w.mu.Lock()
	}
	w.mu.Unlock()
}

// wake tells the flusher that the source has something.
func (w *writer) wake() {
	w.mu.Lock()
	w.sourceWaits = w.source != nil
	start := w.sourceWaits && w.closed == nil && w.startLocked()
	w.mu.Unlock()
	if start {
		w.goFlush()
	}
}
