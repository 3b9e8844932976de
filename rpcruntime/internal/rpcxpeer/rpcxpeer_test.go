// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcxpeer

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for; it passes only when something is wrong.
const patience = 20 * time.Second

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "|", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The bytes are those of rpcx's own programs, typed in by hand.
func TestGoldenFramesOfThePeer(t *testing.T) {
	for name, tc := range map[string]struct {
		hex  string
		want Message
	}{
		"A": {
			`08 00 00 10 | 0000000000000001 | 00000038 | 00000005 4172697468 | 00000003 4d756c | 00000011 00000006 5f5f41555448 00000003 746f6b | 0000000f 7b2241223a31302c2242223a32307d`,
			Message{Serialize: SerializeJSON, Seq: 1, Path: "Arith", Method: "Mul", Meta: map[string]string{KeyAuth: "tok"}, Payload: []byte(`{"A":10,"B":20}`)},
		},
		"C": {
			`08002010 0000000000000002 00000025 00000005 4172697468 00000003 4d756c 00000000 0000000d 7b2241223a312c2242223a327d`,
			Message{Oneway: true, Serialize: SerializeJSON, Seq: 2, Path: "Arith", Method: "Mul", Payload: []byte(`{"A":1,"B":2}`)},
		},
		"E": {
			`0800c030 0000000000000003 00000019 00000000 00000000 00000000 00000009 d317979cfe362a0000`,
			Message{Response: true, Heartbeat: true, Serialize: SerializeMsgPack, Seq: 3, Payload: []byte("\xd3\x17\x97\x9c\xfe\x36\x2a\x00\x00")},
		},
		"F": {
			`08008110 0000000000000004 0000004b 00000005 4172697468 00000004 4e6f7065 00000032 0000000e 5f5f727063785f6572726f725f5f 0000001c 727063783a2063616e27742066696e64206d6574686f64204e6f7065 00000000`,
			Message{Response: true, Failed: true, Serialize: SerializeJSON, Seq: 4, Path: "Arith", Method: "Nope", Meta: map[string]string{KeyError: "rpcx: can't find method Nope"}, Payload: []byte{}},
		},
		"H": {
			`08002000 0000000000000001 00000019 00000006 6e6f74696679 00000001 6d 00000000 00000002 6869`,
			Message{Oneway: true, Seq: 1, Path: "notify", Method: "m", Payload: []byte("hi")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := unhex(t, tc.hex)
			m, err := Read(bytes.NewReader(b))
			if err != nil || !reflect.DeepEqual(*m, tc.want) {
				t.Errorf("read %+v, %v, want %+v", m, err, tc.want)
			}
			if got := tc.want.Encode(); !bytes.Equal(got, b) {
				t.Errorf("encoded\n%x, want\n%x", got, b)
			}
		})
	}
	b := unhex(t, `08000400 0000000000000006 0000003e 00000004 4563686f 00000003 526177 00000000 00000027 1f8b08000000000000ff4a1c05a360148c022a0000000000ffff010000ffffadfde2af4c040000`)
	if m, err := Read(bytes.NewReader(b)); err != nil || m.Compress != CompressGzip || string(m.Payload) != strings.Repeat("a", 1100) {
		t.Errorf("gzip: %v", err)
	}
}

func TestPeersWhoseFramesDoNotAddUp(t *testing.T) {
	good := unhex(t, `08000010 0000000000000005 00000035 00000005 4172697468 00000003 4d756c 0000001b 0000000f 5f5f53657276657254696d656f7574 00000004 31353030 00000002 7b7d`)
	for i := range good {
		if _, err := Read(bytes.NewReader(good[:i])); err == nil {
			t.Errorf("%d bytes of %d are a message", i, len(good))
		}
	}
	for name, at := range map[string]int{"magic": 0, "compressor": 2, "total": 12, "path": 16, "method": 25, "meta": 32, "key": 36, "value": 55} {
		b := bytes.Clone(good)
		b[at] |= 0x18
		if _, err := Read(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	b := bytes.Clone(good)
	b[66] = 1 // the payload's length: nobody looks at it
	if m, err := Read(bytes.NewReader(b)); err != nil || string(m.Payload) != "{}" {
		t.Errorf("%v", err)
	}
}

func serve(t *testing.T, cfg ServerConfig) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(ln, cfg)
	t.Cleanup(s.Close)
	return s
}

func dial(t *testing.T, s *Server, cfg ClientConfig) *Client {
	t.Helper()
	c, err := Dial(t.Context(), s.Addr(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestCallerAndCallee(t *testing.T) {
	for name, workers := range map[string]int{"goroutines": 0, "pool": 2} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, ServerConfig{Workers: workers})
			s.Handle("Echo", "Do", func(ctx context.Context, req *Request) ([]byte, error) {
				for k, v := range RequestMeta(ctx) {
					ResponseMeta(ctx)[k] = v
				}
				return req.Payload, nil
			})
			s.Handle("Echo", "Fail", func(context.Context, *Request) ([]byte, error) { return []byte("half"), errors.New("boom") })
			s.Handle("Echo", "Panic", func(context.Context, *Request) ([]byte, error) { panic("oh") })
			got := make(chan string, 1)
			s.Handle("Echo", "Take", func(_ context.Context, req *Request) ([]byte, error) {
				got <- string(req.Payload)
				return nil, req.Conn.SendMessage("notify", "m", nil, []byte("hi"))
			})
			pushes := make(chan *Message, 1)
			c := dial(t, s, ClientConfig{Compress: CompressGzip, Pushes: pushes})
			var all sync.WaitGroup
			for _, text := range []string{"small", strings.Repeat("large", 1000)} {
				for range 10 {
					all.Go(func() {
						back := map[string]string{}
						r, err := c.Call(WithMeta(t.Context(), map[string]string{"k": text}, back), "Echo", "Do", []byte(text))
						if err != nil || string(r) != text || back["k"] != text || back[KeyServerAddress] != s.Addr() {
							t.Errorf("%v", err)
						}
					})
				}
			}
			all.Wait()
			for method, want := range map[string]string{"Fail": "boom", "Nope": "rpcx: can't find method Nope", "Panic": "[service internal error]: oh"} {
				r, err := c.Call(t.Context(), "Echo", method, nil)
				var text ServiceError
				if !errors.As(err, &text) || !strings.HasPrefix(string(text), want) || method == "Fail" && string(r) != "half" {
					t.Errorf("%s: %q, %v", method, r, err)
				}
			}
			if err := c.Heartbeat(t.Context()); err != nil {
				t.Error(err)
			}
			if err := c.Oneway(t.Context(), "Echo", "Take", []byte("x")); err != nil || <-got != "x" {
				t.Error(err)
			}
			if m := <-pushes; string(m.Payload) != "hi" || m.Seq != 1 {
				t.Errorf("pushed %+v", m)
			}
		})
	}
}

func TestRejectedTokenClosesTheConnection(t *testing.T) {
	s := serve(t, ServerConfig{Auth: func(_ context.Context, _ *Message, token string) error {
		if token != "tok" {
			return errors.New("no")
		}
		return nil
	}})
	s.Handle("Echo", "Do", func(_ context.Context, req *Request) ([]byte, error) { return req.Payload, nil })
	c := dial(t, s, ClientConfig{})
	if err := c.Heartbeat(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := c.Call(t.Context(), "Echo", "Do", nil); err == nil || err.Error() != "no" {
		t.Error(err)
	}
	<-c.Down()
	x := NewXClient("Echo", []string{s.Addr()}, XConfig{Token: "tok"})
	defer x.Close()
	if r, err := x.Call(t.Context(), "Do", []byte("x")); err != nil || string(r) != "x" {
		t.Error(err)
	}
}

// Failover sends again what was lost, at most three times, and not what was
// answered.
func TestFailoverOfThePeer(t *testing.T) {
	s := serve(t, ServerConfig{})
	cut := make(chan struct{}, 10)
	s.Handle("Echo", "Do", func(_ context.Context, req *Request) ([]byte, error) {
		select {
		case <-cut:
			_ = req.Conn.nc.Close()
		default:
		}
		return req.Payload, nil
	})
	ran := 0
	s.Handle("Echo", "Fail", func(context.Context, *Request) ([]byte, error) { ran++; return nil, errors.New("boom") })
	x := NewXClient("Echo", []string{s.Addr()}, XConfig{})
	for range 3 {
		cut <- struct{}{}
	}
	if r, err := x.Call(t.Context(), "Do", []byte("x")); err != nil || string(r) != "x" {
		t.Error(err)
	}
	for range 5 {
		cut <- struct{}{}
	}
	if _, err := x.Call(t.Context(), "Do", nil); !errors.Is(err, io.ErrUnexpectedEOF) || len(cut) != 1 {
		t.Errorf("%v, %d left", err, len(cut))
	}
	if _, err := x.Call(t.Context(), "Fail", nil); err == nil || ran != 1 {
		t.Errorf("%v, ran %d times", err, ran)
	}
	x.Close()
	if _, err := x.Call(t.Context(), "Do", nil); !errors.Is(err, ErrShutdown) {
		t.Error(err)
	}
}

// All metadata passes through the service in the middle, both ways, but for
// what it writes itself.
func TestForwardHandsItsContextOn(t *testing.T) {
	far := serve(t, ServerConfig{})
	far.Handle("Echo", "Do", func(ctx context.Context, req *Request) ([]byte, error) {
		ResponseMeta(ctx)["back"] = RequestMeta(ctx)["there"] + RequestMeta(ctx)[KeyAuth]
		return req.Payload, errors.New("boom")
	})
	x := NewXClient("Echo", []string{far.Addr()}, XConfig{Token: "own"})
	t.Cleanup(x.Close)
	middle := serve(t, ServerConfig{})
	middle.Handle("Echo", "Do", Forward(x))
	c := dial(t, middle, ClientConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	back := map[string]string{}
	_, err := c.Call(WithMeta(ctx, map[string]string{"there": "and ", KeyAuth: "theirs"}, back), "Echo", "Do", nil)
	if err == nil || err.Error() != "boom" || back["back"] != "and own" {
		t.Errorf("%v, %v", back, err)
	}
}

func TestHeartbeatsOfThePeer(t *testing.T) {
	near, far := net.Pipe()
	c := NewClient(near, ClientConfig{Heartbeat: time.Millisecond, HeartbeatWait: 10 * time.Millisecond})
	for i := range uint64(3) {
		m, err := Read(far)
		if err != nil || !m.Heartbeat || m.Seq != i || len(m.Payload) != 9 {
			t.Fatalf("%+v, %v", m, err)
		}
		m.Response = true
		if _, err := far.Write(m.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Read(far); err != nil {
		t.Error(err)
	}
	<-c.Down() // the fourth is not answered
	c.Close()
	_ = far.Close()
}
