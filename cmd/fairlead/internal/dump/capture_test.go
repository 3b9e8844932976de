// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

const (
	one   = "10.0.0.1:40000"
	two   = "10.0.0.3:40001"
	arith = "10.0.0.2:8972"
)

// scenes are captures, each made of frames that were typed by hand. What is
// printed of them is in testdata/SCENE.golden.
var scenes = []struct {
	name string
	opts Options
	make func(t *tap)
}{
	{"kinds", Options{}, allKinds},
	{"kinds-verbose", Options{Verbose: true}, allKinds},
	{"kinds-json", Options{JSON: true, Verbose: true}, allKinds},
	{"split", Options{}, func(t *tap) { // inside the prefix, a length, a name, the payload
		c := t.connection(one, arith).open()
		request, reply := join(t, "mul"), join(t, "mul reply")
		for at := 0; at < len(request); at += 7 {
			c.say(client, request[at:min(at+7, len(request))])
		}
		for i := range reply {
			c.say(server, reply[i:i+1])
		}
		c.finish()
	}},
	{"out-of-order", Options{}, func(t *tap) { // sent again, and with overlaps, too
		c := t.connection(one, arith).open()
		all := join(t, "mul", "oneway", "nope")
		c.segment(client, 100, all[100:])
		c.segment(client, 30, all[30:80])
		c.segment(client, 100, all[100:]) // again
		c.segment(client, 10, all[10:40])
		c.segment(client, 0, all[:20])
		c.segment(client, 5, []byte("what came first counts"))
		c.segment(client, 60, all[60:120])
		c.seqs[client] += uint32(len(all))
		c.say(server, join(t, "mul reply", "nope error"))
		c.segment(client, -10, all[len(all)-10:]) // once more
		c.finish()
		c.segment(client, -10, all[len(all)-10:]) // behind the end
	}},
	{"two-connections", Options{}, func(t *tap) { // with the same seqs, interleaved
		a, b := t.connection(one, arith).open(), t.connection(two, arith).open()
		request := join(t, "mul")
		a.say(client, request[:20])
		b.say(client, request[:50])
		b.say(client, request[50:])
		a.say(client, request[20:])
		b.say(server, join(t, "mul reply"))
		a.say(server, join(t, "mul reply without a name"))
		b.finish()
		a.say(client, join(t, "heartbeat")).say(server, join(t, "heartbeat answer"))
	}},
	{"same-ends-again", Options{}, func(t *tap) { // a connection between the ends of one that is over, and of one that was reset
		for range 2 {
			t.connection(one, arith).open().say(client, join(t, "mul")).say(server, join(t, "mul reply")).finish()
		}
		c := t.connection(one, arith)
		c.seqs = [2]uint32{4000, 5000}
		c.open().say(client, join(t, "nope")[:20])
		c.send(server, layers.TCP{RST: true, Seq: c.seqs[server]}, nil)
		c.seqs = [2]uint32{9000, 9000}
		c.open().say(client, join(t, "nope"))
	}},
	{"gap", Options{}, func(t *tap) { // a segment is lost: inside a payload, over frames, in a prefix
		c := t.connection(one, arith).open()
		mul := join(t, "mul")
		c.say(client, mul)
		c.say(client, mul[:len(mul)-10])
		c.seqs[client] += 5
		c.say(client, mul[len(mul)-5:])
		c.say(client, join(t, "oneway"))
		c.say(client, mul[:30])
		c.seqs[client] += 100
		c.say(client, join(t, "oneway")[20:])
		c.say(client, join(t, "nope"))
		c.say(client, mul[:9])
		c.seqs[client] += 3
		c.say(client, mul[12:])
		c.say(client, join(t, "protobuf"))
		c.finish()
	}},
	{"gap-at-the-end", Options{}, func(t *tap) { // what came before the FIN is not there
		c := t.connection(one, arith).open()
		c.say(client, join(t, "mul"))
		c.seqs[client] += 50
		c.finish()
	}},
	{"gap-acked", Options{}, func(t *tap) { // the receiver has it, the capture has not: this is said before the end
		c := t.connection(one, arith).open()
		c.say(client, join(t, "mul"))
		c.seqs[client] += 100
		c.say(client, join(t, "oneway"))
		for range 1001 {
			c.send(server, layers.TCP{ACK: true, Seq: c.seqs[server], Ack: c.seqs[client]}, nil)
		}
		c.say(client, join(t, "nope"))
		c.say(server, join(t, "nope error"))
		c.finish()
	}},
	{"midway", Options{}, func(t *tap) { // the capture began in the middle of a frame, and ends in one
		c := t.connection(one, arith)
		c.say(server, join(t, "mul reply", "heartbeat answer")[5:])
		c.say(client, join(t, "mul"))
		c.say(server, join(t, "push", "mul reply"))
		c.say(client, join(t, "nope")[:40])
	}},
	{"midway-ports", Options{}, func(t *tap) { // the client's port is the lower
		c := t.connection("10.0.0.1:80", "10.0.0.2:40000")
		c.say(server, join(t, "mul reply"))
		c.say(client, join(t, "mul"))
		d := t.connection("10.0.0.1:81", "10.0.0.2:40000")
		d.say(client, join(t, "cancel"))
		e := t.connection("10.0.0.1:82", "10.0.0.2:40000")
		e.say(server, join(t, "drain"))
		f := t.connection("10.0.0.1:83", "10.0.0.2:40000")
		f.say(client, join(t, "heartbeat, oneway too")).say(server, join(t, "its answer"))
	}},
	{"midway-at-a-frame", Options{}, func(t *tap) {
		c := t.connection(one, arith)
		c.say(server, join(t, "push")).say(server, join(t, "mul reply"))
	}},
	{"malformed", Options{}, func(t *tap) {
		c := t.connection(one, arith).open()
		c.say(client, join(t, "payload length too large", "metadata ends inside an entry", "mul", "total too small", "nope"))
		c.say(client, []byte("GET / HTTP/1.1\r\n\r\n"))
		c.say(client, join(t, "oneway"))
		huge := join(t, "mul")
		copy(huge[12:], "\xff\xff\xff\xff")
		c.say(client, huge).say(client, join(t, "protobuf"))
		late := join(t, "mul") // half a frame whose path cannot be
		copy(late[16:], "\x00\x00\x10\x00")
		c.say(client, late[:40])
		c.finish()
	}},
	{"terminal", Options{Verbose: true}, func(t *tap) { // text that would do something to a terminal
		t.connection(one, arith).open().say(client, join(t, "terminal"))
	}},
	{"terminal-json", Options{Verbose: true, JSON: true}, func(t *tap) {
		t.connection(one, arith).open().say(client, join(t, "terminal"))
	}},
	{"others", Options{}, otherProtocols},
	{"others-port", Options{Ports: []uint16{8972, 443}}, otherProtocols},
	{"snaplen", Options{Verbose: true}, func(t *tap) { // only the start of each packet was captured
		t.snap = 14 + 20 + 20 + 60
		c := t.connection(one, arith).open()
		c.say(client, join(t, "mul", "nope")).say(client, join(t, "protobuf")).say(server, join(t, "mul reply", "nope error"))
		c.finish()
	}},
	{"large", Options{Verbose: true, MaxPayload: 20}, func(t *tap) { // a frame of which not all is kept
		c := t.connection(one, arith).open()
		frame := join(t, "protobuf")
		payload := bytes.Repeat([]byte{0x0a, 0x02, 'h', 'i'}, 200_000)
		copy(frame[12:], []byte{0, 0x0c, 0x35, 0x18}) // 24 and 800,000
		copy(frame[36:], []byte{0, 0x0c, 0x35, 0x00})
		frame = append(frame[:40], payload...)
		for len(frame) > 0 {
			n := min(len(frame), 60_000)
			c.say(client, frame[:n])
			frame = frame[n:]
		}
		c.say(client, join(t, "mul"))
	}},
}

func allKinds(t *tap) {
	c := t.connection(one, arith).open()
	c.say(client, join(t, "mul")).say(server, join(t, "hello", "window", "mul reply"))
	c.say(client, join(t, "oneway", "heartbeat")).say(server, join(t, "heartbeat answer", "push"))
	c.say(client, join(t, "nope", "gzip", "msgpack", "protobuf")).say(server, join(t, "nope error", "refused"))
	c.say(client, join(t, "cancel")).say(server, join(t, "load", "unknown control", "drain", "bye"))
	c.finish()
}

func otherProtocols(t *tap) {
	hello := []byte{0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5}
	t.connection(one, "10.0.0.2:443").open().say(client, hello[:1]).say(client, hello[1:]).say(server, hello)
	t.connection(two, "10.0.0.2:443").say(client, []byte{0x17, 3, 3, 0, 1, 9})
	t.connection(one, "10.0.0.2:80").open().say(client, []byte("GET / HTTP/1.1\r\n\r\n")).say(server, []byte("HTTP/1.1 200 OK\r\n\r\n"))
	t.connection(one, arith).open().say(client, []byte("POST /Arith.Mul HTTP/1.1\r\n\r\n")).say(server, []byte("HTTP/1.1 200 OK\r\n\r\n"))
	t.connection(one, "10.0.0.2:22").open().say(server, []byte{0, 1, 2, 3})
	t.connection(two, "10.0.0.2:22").say(server, bytes.Repeat([]byte{8, 0, 0, 1}, 5000))
	t.connection(two, "10.0.0.2:9").open()
}

func TestScenes(t *testing.T) {
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			c := newTap(t, layers.LinkTypeEthernet)
			scene.make(c)
			out, log := decoded(t, c.buf.Bytes(), scene.opts)
			golden(t, scene.name+".golden", out+"# "+log)
			checkPrintable(t, out)
		})
	}
}

// Of -o json, each line is an object, and says what the lines of text say.
func TestJSON(t *testing.T) {
	c := newTap(t, layers.LinkTypeEthernet)
	allKinds(c)
	text, _ := decoded(t, c.buf.Bytes(), Options{})
	objects, _ := decoded(t, c.buf.Bytes(), Options{JSON: true, Verbose: true})
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range strings.Split(strings.TrimSpace(objects), "\n") {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if again := strings.TrimSpace(string(appendLine(nil, &event{Time: e.Time, Client: e.Client, Server: e.Server,
			Direction: e.Direction, Kind: e.Kind, FrameInfo: withoutVerbose(e.FrameInfo)}))); again != lines[i] {
			t.Errorf("the object says\n%s, the text\n%s", again, lines[i])
		}
	}
}

func withoutVerbose(f *FrameInfo) *FrameInfo {
	f.Entries, f.Text, f.Notes = nil, "", nil
	return f
}

// However a capture was made, what is in it is the same.
func TestLinkTypes(t *testing.T) {
	ends := [2]string{one, arith}
	want := ""
	for i, link := range []layers.LinkType{
		layers.LinkTypeEthernet, layers.LinkTypeLinuxSLL, layers.LinkTypeLinuxSLL2, layers.LinkTypeNull, layers.LinkTypeLoop,
		layers.LinkTypeRaw, layers.LinkTypeIPv4, linkRawBSD, linkRawOpenBSD, layers.LinkTypeEthernet, layers.LinkTypeEthernet,
	} {
		c := newTap(t, link)
		c.vlan = i == 9
		if i == 10 {
			c.pad = 20
		}
		if link == layers.LinkTypeLoop {
			c.link = layers.LinkTypeNull // of the same shape
		}
		c.connection(ends[0], ends[1]).open().say(client, join(t, "mul")).say(server, join(t, "mul reply")).finish()
		out, log := decoded(t, c.buf.Bytes(), Options{})
		if i == 0 {
			want = out
		}
		if out != want || strings.Count(out, "\n") != 2 || strings.Contains(log, "passed over") {
			t.Errorf("link type %d:\n%s%s, want\n%s", link, out, log, want)
		}
	}
}

func TestIPv6(t *testing.T) {
	for _, link := range []layers.LinkType{layers.LinkTypeEthernet, layers.LinkTypeLinuxSLL, layers.LinkTypeLinuxSLL2, layers.LinkTypeRaw, layers.LinkTypeIPv6} {
		c := newTap(t, link)
		c.connection("[2001:db8::1]:40000", "[2001:db8::2]:8972").open().say(client, join(t, "mul")).say(server, join(t, "mul reply")).finish()
		out, _ := decoded(t, c.buf.Bytes(), Options{})
		golden(t, "ipv6.golden", out)
	}
}

// A header in front of TCP's, and a packet that was cut into fragments.
func TestExtensionHeaders(t *testing.T) {
	frame := join(t, "mul")
	tcp := append([]byte{0x9c, 0x40, 0x23, 0x0c, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x18, 1, 0, 0, 0, 0, 0}, frame...)
	ip := func(next byte, rest []byte) []byte {
		header := append([]byte{0x60, 0, 0, 0, 0, byte(len(rest)), next, 64}, make([]byte, 32)...)
		header[23], header[39] = 1, 2
		return append(header, rest...)
	}
	tests := map[string]struct {
		packet []byte
		want   skipping
	}{
		"none":            {ip(6, tcp), taken},
		"hop by hop":      {ip(0, append([]byte{6, 0, 1, 4, 0, 0, 0, 0}, tcp...)), taken},
		"two of them":     {ip(43, append([]byte{60, 0, 0, 0, 0, 0, 0, 0, 6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, tcp...)), taken},
		"too long":        {ip(0, append([]byte{6, 200, 1, 4, 0, 0, 0, 0}, tcp...)), damaged},
		"cut":             {ip(0, []byte{6}), damaged},
		"a fragment":      {ip(44, append([]byte{6, 0, 0, 1, 0, 0, 0, 0}, tcp...)), fragment},
		"UDP":             {ip(17, tcp), notTCP},
		"nothing":         {nil, damaged},
		"half a header":   {ip(6, tcp)[:30], damaged},
		"half of TCP's":   {ip(6, tcp[:10]), damaged},
		"neither 4 nor 6": {[]byte{0x50, 0}, notTCP},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, why := parsePacket(layers.LinkTypeRaw, test.packet)
			if why != test.want || why == taken && (!bytes.Equal(s.data, frame) || s.cut != 0 || s.from.Port() != 40000) {
				t.Errorf("%v, %d; want %d", s, why, test.want)
			}
		})
	}
}

func TestPcapngAndGzip(t *testing.T) {
	c := newTap(t, layers.LinkTypeEthernet)
	c.connection(one, arith).open().say(client, join(t, "mul")).say(server, join(t, "mul reply")).finish()
	want, _ := decoded(t, c.buf.Bytes(), Options{})

	var ng bytes.Buffer
	w, err := pcapgo.NewNgWriter(&ng, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	old, err := pcapgo.NewReader(bytes.NewReader(c.buf.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := w.AddInterface(pcapgo.NgInterface{LinkType: layers.LinkTypeRaw, SnapLength: 65536}) // links of two kinds in one file
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		packet, info, err := old.ReadPacketData()
		if err != nil {
			break
		}
		if n%2 == 1 {
			packet, info.InterfaceIndex = packet[14:], raw
			info.Length, info.CaptureLength = len(packet), len(packet)
		}
		if err := w.WritePacket(info, packet); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(ng.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, capture := range map[string][]byte{"pcapng": ng.Bytes(), "pcapng, gzipped": zipped.Bytes()} {
		if out, _ := decoded(t, capture, Options{}); out != want {
			t.Errorf("%s:\n%s, want\n%s", name, out, want)
		}
	}
}

// A file that ends in the middle has its lines, and then an error.
func TestBrokenFiles(t *testing.T) {
	c := newTap(t, layers.LinkTypeEthernet)
	c.connection(one, arith).open().say(client, join(t, "mul")).say(server, join(t, "mul reply"))
	whole := c.buf.Bytes()
	var twice bytes.Buffer
	z := gzip.NewWriter(&twice)
	_, _ = z.Write([]byte{0x1f, 0x8b, 0, 0, 0})
	_ = z.Close()
	large := bytes.Clone(whole[:24])
	copy(large[16:], "\xff\xff\xff\x7f")
	large = append(large, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x6f, 0xff, 0xff, 0xff, 0x6f)
	large = append(large, make([]byte, maxRecord+(64<<10))...)
	for name, test := range map[string]struct {
		file    []byte
		packets int
		lines   int
	}{
		"empty":            {nil, 0, 0},
		"text":             {[]byte("not a capture at all, but long enough for one"), 0, 0},
		"cut":              {whole[:len(whole)-3], 4, 1},
		"gzip of gzip":     {twice.Bytes(), 0, 0},
		"a record of 2 GB": {large, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var out, log bytes.Buffer
			err := File(t.Context(), bytes.NewReader(test.file), Options{Out: &out, Log: &log})
			var broken *FileError
			if name == "a record of 2 GB" && !errors.Is(err, errRecord) {
				t.Errorf("it was read: %v", err)
			}
			if !errors.As(err, &broken) || broken.Packets != test.packets || strings.Count(out.String(), "\n") != test.lines {
				t.Errorf("%v\n%s", err, out.String())
			}
		})
	}
}

func clientAt(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("10.0.0.9"), port)
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errBroken }

var errBroken = errors.New("broken pipe")

func TestOutputFails(t *testing.T) {
	c := newTap(t, layers.LinkTypeEthernet)
	allKinds(c)
	err := File(t.Context(), bytes.NewReader(c.buf.Bytes()), Options{Out: brokenPipe{}, Log: new(bytes.Buffer), Live: true})
	if !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

// What is held back for one connection, or for all, has an end.
func TestMemoryIsBounded(t *testing.T) {
	c := newTap(t, layers.LinkTypeEthernet)
	c.connection(one, arith).open().segment(client, 0, join(t, "mul"))
	old, err := pcapgo.NewReader(&c.buf)
	if err != nil {
		t.Fatal(err)
	}
	table := newTable(&Options{}, &reporter{opts: &Options{}, out: new(bytes.Buffer)})
	var last segment
	for {
		packet, info, err := old.ReadPacketData()
		if err != nil {
			break
		}
		last, _ = parsePacket(layers.LinkTypeEthernet, packet)
		table.segment(last, info.Timestamp)
	}
	conn := table.recent.Front().Value.(*capturedConn)
	data := make([]byte, 2000)
	for i := range 3000 { // all ahead of a hole, each of them
		last.piece = piece{seq: last.seq + 4000, data: data}
		table.segment(last, c.at)
		if h := &conn.halves[0]; h.held > maxWaitingBytes || len(h.waiting) > maxWaitingPieces {
			t.Fatalf("after %d segments %d bytes in %d pieces wait", i, h.held, len(h.waiting))
		}
	}
	if held := heldBytes - table.budget.left; held <= 0 || held > maxWaitingBytes+searchWindow+1000 {
		t.Errorf("%d bytes are held", held)
	}
	for port := range uint16(1000) { // what was held comes back with the end of a connection
		s := last
		s.from, s.syn = clientAt(10000+port), true
		table.segment(s, c.at)
	}
	table.close()
	if table.budget.left != heldBytes {
		t.Errorf("%d bytes are still held", heldBytes-table.budget.left)
	}
	if len(table.byEnds) != 0 {
		t.Errorf("%d connections are left", len(table.byEnds))
	}
}

// A segment that waits is held once, however often it is sent.
func TestSentAgainIsHeldOnce(t *testing.T) {
	c := newTap(t, layers.LinkTypeEthernet)
	conn := c.connection(one, arith).open()
	frame := join(t, "mul")
	for range maxWaitingPieces + 10 {
		conn.segment(client, 20, frame[20:])
	}
	conn.say(client, frame[:20])
	out, _ := decoded(t, c.buf.Bytes(), Options{})
	if strings.Count(out, "\n") != 1 || !strings.Contains(out, "request seq=1 Arith.Mul") {
		t.Error(out)
	}
}

// Without memory lines say less, and nothing wrong.
func TestNoMemoryLeft(t *testing.T) {
	var out bytes.Buffer
	rep := &reporter{opts: &Options{Verbose: true}, out: &out}
	table := newTable(rep.opts, rep)
	table.budget.left = 40
	c := newTap(t, layers.LinkTypeEthernet)
	allKinds(c)
	c.connection(two, arith).open().segment(client, 100, join(t, "mul"))
	old, err := pcapgo.NewReader(&c.buf)
	if err != nil {
		t.Fatal(err)
	}
	for {
		packet, info, err := old.ReadPacketData()
		if err != nil {
			break
		}
		s, _ := parsePacket(layers.LinkTypeEthernet, packet)
		table.segment(s, info.Timestamp)
	}
	table.close()
	golden(t, "no-memory.golden", out.String())
	if table.budget.left != 40 {
		t.Errorf("%d bytes are still held", 40-table.budget.left)
	}
}

// The connection that was quiet longest makes room for a new one.
func TestTableIsBounded(t *testing.T) {
	table := newTable(&Options{}, &reporter{opts: &Options{}, out: new(bytes.Buffer)})
	for i := range maxConnections + 10 {
		table.segment(segment{from: clientAt(uint16(i)), to: netip.MustParseAddrPort(arith), syn: true}, newTap(t, 1).at)
	}
	if len(table.byEnds) != maxConnections || table.recent.Len() != maxConnections || table.count != maxConnections+10 {
		t.Errorf("%d connections are held of %d", len(table.byEnds), table.count)
	}
	if last := table.recent.Back().Value.(*capturedConn); last.conv.ends[0].Port() != 10 {
		t.Errorf("the oldest is that of port %d", last.conv.ends[0].Port())
	}
}
