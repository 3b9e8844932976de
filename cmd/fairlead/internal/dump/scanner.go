// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"bytes"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// sink is told what a scanner finds in one direction of a connection.
type sink interface {
	// frame is a frame that ended at that time. lost of its bytes are missing. Its
	// slices are valid until it returns.
	frame(f head, lost uint64, at time.Time)
	// note is something else to say.
	note(text string, at time.Time)
	// speaks is called when it is known what protocol the direction is in.
	speaks(p protocol, at time.Time)
}

// protocol is what a direction of a connection is taken for.
type protocol uint8

const (
	undecided protocol = iota
	rpcx
	tls
	http
	other
)

var protocolNames = [...]string{"undecided", "rpcx", "TLS", "HTTP", "another protocol"}

func (p protocol) String() string { return protocolNames[p] }

// scanner cuts the bytes of one direction into frames.
//
//	starting -- 0x08 --> framing <-- plausible frame -- searching
//	    |                   |                              ^
//	    | anything else     +-- malformed prefix, gap -----+
//	    v
//	   deaf
//
// A frame whose total is believable is waited for to its end even if its inner
// lengths are wrong: rpcx ignores some of them, so the next frame starts there.
type scanner struct {
	out    sink
	budget *budget
	state  scanState
	// midway: the start of the stream was not seen, so frames are searched for.
	midway bool
	// at is the time of the latest bytes.
	at time.Time
	// start is the place in the stream of the frame that is being read, or of
	// what is in buf.
	start uint64
	// buf is what was kept of the frame that is being read, or what is searched.
	// Invariant: len(buf) bytes of the budget are taken, but in state starting.
	buf []byte

	// The frame that is being read. size is 0 until its prefix is there.
	header wire.Header
	size   uint64
	got    uint64 // lost ones included
	lost   uint64
	full   bool // no more of it is kept

	// skipped counts the bytes passed over since the last frame.
	skipped uint64
}

type scanState uint8

const (
	starting scanState = iota
	framing
	searching
	deaf
)

// stride is how many bytes are looked at in one go: what is read again after a
// false start is of that order.
const stride = 4 << 10

// feed takes the next bytes of the stream. It does not keep p.
func (s *scanner) feed(p []byte, at time.Time) {
	s.at = at
	for len(p) > 0 {
		n := min(len(p), stride)
		for in := p[:n]; len(in) > 0; {
			switch s.state {
			case starting:
				in = s.decide(in)
			case framing:
				in = s.take(in)
			case searching:
				in = s.search(in)
			case deaf:
				return
			}
		}
		p = p[n:]
	}
}

// decide says by its first bytes what the stream is, and returns what is still
// to be read.
func (s *scanner) decide(in []byte) []byte {
	in = append(s.buf, in...)
	s.buf = nil
	record := in[0] == 0x16 || s.midway && in[0] > 0x13 && in[0] < 0x18 // a handshake, or any record of TLS
	switch {
	case record && len(in) < 2:
		s.buf = in
		return nil
	case record && in[1] == 3:
		return s.ignore(tls)
	case s.midway:
		s.state = searching
	case in[0] == wire.Magic:
		s.state = framing
		s.out.speaks(rpcx, s.at)
	case in[0] >= 'A' && in[0] <= 'Z':
		return s.ignore(http)
	default:
		return s.ignore(other)
	}
	return in
}

func (s *scanner) ignore(p protocol) []byte {
	s.state = deaf
	s.out.speaks(p, s.at)
	return nil
}

// hold keeps p in buf, as far as memory allows.
func (s *scanner) hold(p []byte) bool {
	if !s.budget.take(len(p)) {
		return false
	}
	s.buf = append(s.buf, p...)
	return true
}

// release takes what is held out of buf.
func (s *scanner) release() []byte {
	held := s.buf
	s.budget.give(len(held))
	s.buf = nil
	return held
}

// take reads some of a frame, and returns what does not belong to it.
func (s *scanner) take(in []byte) []byte {
	if s.size == 0 {
		n := min(len(in), wire.PrefixLen-len(s.buf))
		s.budget.force(n)
		s.buf = append(s.buf, in[:n]...)
		s.got += uint64(n)
		s.prefix()
		return in[n:]
	}
	n := int(min(uint64(len(in)), s.size-s.got))
	s.got += uint64(n)
	if keep := min(n, keepBytes-len(s.buf)); !s.full && !s.hold(in[:keep]) {
		s.full = true
	}
	if s.got == s.size {
		s.end()
	}
	return in[n:]
}

// prefix reads the prefix, as far as it is there.
func (s *scanner) prefix() {
	var err error
	switch {
	case s.buf[0] != wire.Magic:
		err = &wire.MalformedError{Field: "magic", Claim: uint64(s.buf[0]), Have: wire.Magic}
	case len(s.buf) < wire.PrefixLen:
		return
	default:
		if s.header, s.size, err = wire.ParsePrefix(s.buf); err == nil && s.size > believable {
			err = fmt.Errorf("a frame of %d bytes is claimed, which nobody sends", s.size)
		}
	}
	if err != nil {
		s.out.note(fmt.Sprintf("%v (at byte %d of the stream); looking for the next frame", err, s.start), s.at)
		s.next(searching)
		s.pass(1)
	}
}

// next forgets what is known of a frame, but not what is in buf.
func (s *scanner) next(state scanState) {
	s.state, s.size, s.got, s.lost, s.full = state, 0, 0, 0, false
}

// end describes a frame that is complete.
func (s *scanner) end() {
	f, bad := parseHead(s.header, s.buf, s.size)
	if bad != nil {
		s.out.note(fmt.Sprintf("%v (seq %d, at byte %d of the frame, which starts at byte %d of the stream); going on behind it, as its total has it",
			bad, s.header.Seq, bad.offset, s.start), s.at)
	} else {
		s.out.frame(f, s.lost, s.at)
	}
	s.release()
	s.start += s.size
	s.next(framing)
}

// search looks for the start of a frame in what is held and in, and returns
// what is to be read as frames if it found one.
func (s *scanner) search(in []byte) []byte {
	if !s.hold(in) {
		s.pass(len(s.buf))
		s.skipped, s.start = s.skipped+uint64(len(in)), s.start+uint64(len(in))
		return nil
	}
	if !s.look() {
		return nil
	}
	s.out.speaks(rpcx, s.at)
	if s.skipped > 0 {
		s.out.note(fmt.Sprintf("skipped %d bytes before the next frame", s.skipped), s.at)
		s.skipped = 0
	}
	s.next(framing)
	return s.release()
}

// look passes over what cannot be the start of a frame, and reports whether one
// is there then.
func (s *scanner) look() bool {
	for len(s.buf) > 0 {
		i := bytes.IndexByte(s.buf, wire.Magic)
		if i < 0 {
			i = len(s.buf)
		}
		s.pass(i)
		if len(s.buf) == 0 {
			return false
		}
		if v := plausible(s.buf); v != no {
			return v == yes
		}
		s.pass(1)
	}
	return false
}

// pass goes over n bytes of buf.
func (s *scanner) pass(n int) {
	s.budget.give(n)
	s.buf = s.buf[n:]
	s.start, s.skipped = s.start+uint64(n), s.skipped+uint64(n)
}

// gap says that n bytes of the stream are missing here.
func (s *scanner) gap(n uint64, why string, at time.Time) {
	s.at = at
	if s.state == deaf {
		return
	}
	s.out.note(fmt.Sprintf("%d bytes are missing: %s", n, why), at)
	if s.state == framing && s.size > 0 && n <= s.size-s.got { // its end is known all the same
		s.got, s.lost, s.full = s.got+n, s.lost+n, true
		if s.got == s.size {
			s.end()
		}
		return
	}
	s.giveUp()
	s.start += n
	s.midway = true
	if s.state != starting {
		s.next(searching)
	}
}

// giveUp says what is there of a frame that will not be completed, or what was
// passed over in search of one.
func (s *scanner) giveUp() {
	switch {
	case s.state == framing && s.got > 0:
		s.out.note(s.partial(), s.at)
		s.start += s.got
	case s.state == searching && s.skipped+uint64(len(s.buf)) > 0:
		s.pass(len(s.buf))
		s.out.note(fmt.Sprintf("skipped %d bytes: no whole frame is in them", s.skipped), s.at)
		s.skipped = 0
	case s.state == starting:
		s.start += uint64(len(s.buf))
		s.buf = nil
	}
	s.release()
}

// partial describes a frame of which not all came.
func (s *scanner) partial() string {
	if s.size == 0 {
		return fmt.Sprintf("a frame of which only %d bytes came, not even its prefix", s.got)
	}
	f, bad := parseHead(s.header, s.buf, s.size)
	if bad != nil {
		return fmt.Sprintf("%v (seq %d, at byte %d of the frame); only %d of its %d bytes came", bad, f.Seq, bad.offset, s.got-s.lost, s.size)
	}
	return fmt.Sprintf("a frame of which only %d of %d bytes came: seq %d, %s", s.got-s.lost, s.size, f.Seq, name(f.names()))
}

// finish is the end of the stream.
func (s *scanner) finish(at time.Time) {
	if s.state == deaf {
		return
	}
	s.at = at
	s.giveUp()
	s.state = deaf
}
