// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

var update = flag.Bool("update", false, "write what the tests print into testdata")

// typed returns the frames of testdata/frames.txt by their names.
func typed(t testing.TB) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "frames.txt"))
	if err != nil {
		t.Fatal(err)
	}
	frames := make(map[string][]byte)
	for line := range strings.Lines(string(text)) {
		name, digits, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		frame, err := hex.DecodeString(strings.NewReplacer(" ", "", "|", "", "\n", "").Replace(digits))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		frames[name] = frame
	}
	return frames
}

// join returns frames one behind the other.
func join(t testing.TB, names ...string) (all []byte) {
	t.Helper()
	frames := typed(t)
	for _, name := range names {
		if frames[name] == nil {
			t.Fatalf("there is no frame %q", name)
		}
		all = append(all, frames[name]...)
	}
	return all
}

// tap is a capture that is being made. Each packet is a millisecond after the one
// before.
type tap struct {
	testing.TB
	link layers.LinkType
	at   time.Time
	buf  bytes.Buffer
	w    *pcapgo.Writer
	snap int // bytes of a packet that are captured; 0 is all
	vlan bool
	pad  int // zeros behind the packet, as Ethernet has them behind short ones
}

func newTap(t testing.TB, link layers.LinkType) *tap {
	c := &tap{TB: t, link: link, at: time.Date(2026, 11, 23, 14, 2, 11, 0, time.UTC)}
	c.w = pcapgo.NewWriter(&c.buf)
	if err := c.w.WriteFileHeader(65536, link); err != nil {
		t.Fatal(err)
	}
	return c
}

// linkLayer is what stands before the IP header.
func (c *tap) linkLayer(v6 bool) []byte {
	ether := []byte{0x08, 0x00}
	if v6 {
		ether = []byte{0x86, 0xdd}
	}
	switch c.link {
	case layers.LinkTypeEthernet:
		if c.vlan {
			ether = append([]byte{0x88, 0xa8, 0, 5, 0x81, 0, 0, 6}, ether...)
		}
		return append(make([]byte, 12), ether...)
	case layers.LinkTypeLinuxSLL:
		return append(make([]byte, 14), ether...)
	case layers.LinkTypeLinuxSLL2:
		return append(ether, make([]byte, 18)...)
	case layers.LinkTypeNull:
		return []byte{2, 0, 0, 0}
	default:
		return nil
	}
}

// packet captures a TCP segment, which gopacket lays out.
func (c *tap) packet(from, to netip.AddrPort, tcp layers.TCP, data []byte) {
	c.Helper()
	tcp.SrcPort, tcp.DstPort, tcp.Window = layers.TCPPort(from.Port()), layers.TCPPort(to.Port()), 65535
	var ip gopacket.SerializableLayer
	if from.Addr().Is6() {
		v6 := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolTCP, HopLimit: 64, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
		_ = tcp.SetNetworkLayerForChecksum(v6)
		ip = v6
	} else {
		v4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
		_ = tcp.SetNetworkLayerForChecksum(v4)
		ip = v4
	}
	out := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(out, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, &tcp, gopacket.Payload(data))
	if err != nil {
		c.Fatal(err)
	}
	c.record(append(append(c.linkLayer(from.Addr().Is6()), out.Bytes()...), make([]byte, c.pad)...))
}

func (c *tap) record(packet []byte) {
	c.Helper()
	c.at = c.at.Add(time.Millisecond)
	info := gopacket.CaptureInfo{Timestamp: c.at, Length: len(packet), CaptureLength: len(packet)}
	if c.snap > 0 {
		info.CaptureLength = min(info.Length, c.snap)
	}
	if err := c.w.WritePacket(info, packet[:info.CaptureLength]); err != nil {
		c.Fatal(err)
	}
}

// connection is one between two ends of a capture.
type connection struct {
	*tap
	ends [2]netip.AddrPort // client, server
	seqs [2]uint32         // of the next byte of each
}

const (
	client = 0
	server = 1
)

func (c *tap) connection(from, to string) *connection {
	return &connection{c, [2]netip.AddrPort{netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)}, [2]uint32{0xfffffff0, 7}}
}

// open is the handshake.
func (c *connection) open() *connection {
	c.send(client, layers.TCP{SYN: true, Seq: c.seqs[client] - 1}, nil)
	c.send(server, layers.TCP{SYN: true, ACK: true, Seq: c.seqs[server] - 1, Ack: c.seqs[client]}, nil)
	c.send(client, layers.TCP{ACK: true, Seq: c.seqs[client], Ack: c.seqs[server]}, nil)
	return c
}

func (c *connection) send(side int, tcp layers.TCP, data []byte) {
	c.Helper()
	c.packet(c.ends[side], c.ends[1-side], tcp, data)
}

// say sends data in one segment.
func (c *connection) say(side int, data []byte) *connection {
	c.Helper()
	c.segment(side, 0, data)
	c.seqs[side] += uint32(len(data))
	return c
}

// segment sends data that lies by so many bytes ahead of what was said.
func (c *connection) segment(side, ahead int, data []byte) {
	c.Helper()
	c.send(side, layers.TCP{ACK: true, PSH: true, Seq: c.seqs[side] + uint32(ahead), Ack: c.seqs[1-side]}, data)
}

// finish closes both directions.
func (c *connection) finish() {
	c.send(client, layers.TCP{ACK: true, FIN: true, Seq: c.seqs[client], Ack: c.seqs[server]}, nil)
	c.send(server, layers.TCP{ACK: true, FIN: true, Seq: c.seqs[server], Ack: c.seqs[client] + 1}, nil)
}

// decoded is what File prints of a capture, and its summary.
func decoded(t testing.TB, capture []byte, opts Options) (out, log string) {
	t.Helper()
	var o, l bytes.Buffer
	opts.Out, opts.Log = &o, &l
	if err := File(context.Background(), bytes.NewReader(capture), opts); err != nil {
		t.Fatal(err)
	}
	return o.String(), l.String()
}

// golden compares text with a file.
func golden(t *testing.T, file, text string) {
	t.Helper()
	file = filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(text, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
