// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package transport

import (
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

// tryRead reads once without waiting; false means that nothing is there yet.
func (r *readable) tryRead(fd uintptr) bool {
	buf := buffer.Get(readChunk)
	for {
		n, err := syscall.Read(int(fd), buf.B[:cap(buf.B)])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			buf.Free()
			return false
		case err != nil:
			buf.Free()
			r.err = &net.OpError{Op: "read", Net: r.nc.LocalAddr().Network(), Source: r.nc.LocalAddr(), Addr: r.nc.RemoteAddr(), Err: err}
		case n == 0:
			buf.Free()
			r.err = io.EOF
		default:
			buf.B = buf.B[:n]
			r.buf = buf
		}
		return true
	}
}

// read waits for bytes and returns them in a borrowed buffer; nil with an error.
func (r *readable) read() (*buffer.Buffer, error) {
	if r.raw == nil {
		return readPlain(r.nc)
	}
	r.buf, r.err = nil, nil
	if err := r.raw.Read(r.try); err != nil {
		return nil, err
	}
	return r.buf, r.err
}
