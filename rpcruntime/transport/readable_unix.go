// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package transport

import (
	"cmp"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/fairlead/fairlead/rpcruntime/internal/buffer"
)

// readable reads from an idle connection, borrowing a buffer only once there is
// something to read where the connection's kind allows it.
type readable struct {
	nc  net.Conn
	raw syscall.RawConn // nil for kinds without a file descriptor, TLS included
	try func(fd uintptr) bool
	buf *buffer.Buffer
	err error
}

func (r *readable) init(nc net.Conn) {
	r.nc = nc
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return
	}
	conn, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := conn.SyscallConn(); err == nil {
		r.raw, r.try = raw, r.tryRead // one method value, not one per read
	}
}

// tryRead reads once without waiting, behind what is in buf; false means that
// nothing is there yet, and leaves no more than is needed to hold what was.
func (r *readable) tryRead(fd uintptr) bool {
	if r.buf == nil || cap(r.buf.B) < readChunk {
		r.buf = moved(r.buf, readChunk)
	}
	had := len(r.buf.B)
	for {
		n, err := syscall.Read(int(fd), r.buf.B[had:cap(r.buf.B)])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			if r.buf = kept(r.buf, had); r.buf != nil {
				r.buf = moved(r.buf, had)
			}
			return false
		case err != nil:
			n = 0
			r.err = &net.OpError{Op: "read", Net: r.nc.LocalAddr().Network(), Source: r.nc.LocalAddr(), Addr: r.nc.RemoteAddr(), Err: err}
		case n == 0:
			r.err = io.EOF
		}
		r.buf = kept(r.buf, had+n)
		return true
	}
}

// read waits for bytes and returns buf, which may be nil, with them appended; nil
// if there are none. With an error there may be both.
func (r *readable) read(buf *buffer.Buffer) (*buffer.Buffer, error) {
	if r.raw == nil {
		return readPlain(r.nc, buf)
	}
	r.buf, r.err = buf, nil
	err := r.raw.Read(r.try)
	buf, r.buf = r.buf, nil
	return buf, cmp.Or(err, r.err)
}
