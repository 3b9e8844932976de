// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// FileError is a file that is not a capture, or whose rest cannot be read.
type FileError struct {
	// Packets were read before.
	Packets int
	// Err says what is wrong.
	Err error
}

// Error says how far the file was read, and what is wrong then.
func (e *FileError) Error() string {
	if e.Packets == 0 {
		return "not a capture that can be read (pcap or pcapng): " + e.Err.Error()
	}
	return fmt.Sprintf("the capture cannot be read behind packet %d: %v", e.Packets, e.Err)
}

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// File decodes a capture in the format of pcap or pcapng, which may be gzipped,
// to its end, or until ctx ends. What it found is printed in any case. The error
// is a *FileError, or that of the output.
func File(ctx context.Context, r io.Reader, opts Options) error {
	out := bufio.NewWriter(opts.Out)
	rep := &reporter{opts: &opts, out: out}
	t := newTable(&opts, rep)
	seen := make(map[skipping]int)
	err := eachPacket(ctx, r, func(link layers.LinkType, data []byte, at time.Time) error {
		s, why := parsePacket(link, data)
		seen[why]++
		if why == taken {
			t.segment(s, at)
		}
		if rep.err == nil && opts.Live {
			rep.err = out.Flush()
		}
		return rep.err
	})
	t.close()
	if rep.err == nil {
		rep.err = out.Flush()
	}
	if rep.err != nil {
		return rep.err
	}
	_, _ = fmt.Fprintln(opts.Log, summary(t, rep, seen)) // nothing is lost but the summary
	return err
}

// summary is what there is to say in the end.
func summary(t *table, rep *reporter, seen map[skipping]int) string {
	packets := 0
	for _, n := range seen {
		packets += n
	}
	text := fmt.Sprintf("%d packets, %d TCP connections (%d rpcx, %d TLS), %d frames, %d notes",
		packets, t.count, rep.protocols[rpcx], rep.protocols[tls], rep.frames, rep.notes)
	var not []string
	for _, s := range []struct {
		why  skipping
		what string
	}{
		{fragment, "fragments of IP packets, which are not put together"},
		{damaged, "packets too short for their headers"},
		{unknownLink, "packets of a link type that is not known here"},
	} {
		if n := seen[s.why]; n > 0 {
			not = append(not, fmt.Sprintf("%d %s", n, s.what))
		}
	}
	if len(not) > 0 {
		text += "; passed over: " + strings.Join(not, ", ")
	}
	return text
}

// maxRecord bounds what one packet of a file makes its reader hold. Bytes.
const maxRecord = 16 << 20

var errRecord = errors.New("a packet of more than 16 MiB is claimed")

// allowance is a reader that gives at most left bytes.
type allowance struct {
	io.Reader
	left int
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, errRecord
	}
	n, err := a.Reader.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}

// packets is what the readers of both formats have in common.
type packets interface {
	ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	LinkType() layers.LinkType
}

// eachPacket reads a capture. The data is valid until the function returns.
func eachPacket(ctx context.Context, r io.Reader, do func(layers.LinkType, []byte, time.Time) error) error {
	file := &allowance{left: maxRecord}
	p, mixed, err := openCapture(r, file)
	if err != nil {
		return &FileError{Err: err}
	}
	for n := 0; ctx.Err() == nil; n++ {
		file.left = maxRecord
		data, info, err := p.ZeroCopyReadPacketData()
		switch {
		case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return &FileError{Packets: n, Err: err}
		}
		link := p.LinkType()
		if mixed && len(info.AncillaryData) > 0 {
			link, _ = info.AncillaryData[0].(layers.LinkType)
		}
		if err := do(link, data, info.Timestamp); err != nil {
			return err
		}
	}
	return nil
}

// openCapture finds out the format. What it returns reads through file.
func openCapture(r io.Reader, file *allowance) (p packets, mixed bool, err error) {
	in := bufio.NewReader(r)
	if start, _ := in.Peek(2); bytes.Equal(start, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return nil, false, err
		}
		in = bufio.NewReader(unpacked)
		if start, _ := in.Peek(2); bytes.Equal(start, []byte{0x1f, 0x8b}) {
			return nil, false, errors.New("it is gzipped twice")
		}
	}
	start, err := in.Peek(4)
	if err != nil {
		return nil, false, fmt.Errorf("it has %d bytes: %w", len(start), err)
	}
	file.Reader = in
	if bytes.Equal(start, []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		ng, err := pcapgo.NewNgReader(file, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
		return ng, true, err
	}
	old, err := pcapgo.NewReader(file)
	return old, false, err
}
