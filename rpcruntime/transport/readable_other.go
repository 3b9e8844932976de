// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package transport

import (
	"net"

	"github.com/fairlead/fairlead/rpcruntime/internal/buffer"
)

// readable reads from an idle connection; here it holds a buffer while it waits.
type readable struct{ nc net.Conn }

func (r *readable) init(nc net.Conn) { r.nc = nc }

func (r *readable) read(buf *buffer.Buffer) (*buffer.Buffer, error) { return readPlain(r.nc, buf) }
