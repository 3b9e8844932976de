// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package thrift

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/apache/thrift/lib/go/thrift"
)

// maxDepth is the deepest nesting, as in the built-in codecs. The library has
// 64 for what it skips, and none for structs of older compilers.
const maxDepth = 10_000

// guarded is the library's binary protocol for one call, which counts what the
// input claims.
type guarded struct {
	*thrift.TBinaryProtocol

	// left is how many elements containers may still claim. The library holds
	// each claim against the bytes that remain. But containers nest, each in the
	// first element of the one before, and then all of them claim the same bytes:
	// a few MiB would have terabytes allocated.
	left int
	// depth is the structs that are open.
	// Invariant: 0 <= depth <= maxDepth.
	depth int
}

// guard makes the protocol over m. No string may claim more than m holds, be it
// more or less than the library's default.
func guard(m *memory) *guarded {
	size := int32(min(max(len(m.in), 1), math.MaxInt32))
	conf := &thrift.TConfiguration{MaxMessageSize: size, MaxFrameSize: size}
	return &guarded{TBinaryProtocol: thrift.NewTBinaryProtocolConf(m, conf), left: len(m.in)}
}

func (g *guarded) claim(elements int) error {
	if elements > g.left {
		return thrift.NewTProtocolExceptionWithType(thrift.SIZE_LIMIT,
			fmt.Errorf("containers claim %d elements more than the input has bytes", elements-g.left))
	}
	g.left -= elements
	return nil
}

// ReadListBegin reads the header of a list.
func (g *guarded) ReadListBegin(ctx context.Context) (elem thrift.TType, size int, err error) {
	if elem, size, err = g.TBinaryProtocol.ReadListBegin(ctx); err == nil {
		err = g.claim(size)
	}
	return elem, size, err
}

// ReadSetBegin reads the header of a set.
func (g *guarded) ReadSetBegin(ctx context.Context) (elem thrift.TType, size int, err error) {
	if elem, size, err = g.TBinaryProtocol.ReadSetBegin(ctx); err == nil {
		err = g.claim(size)
	}
	return elem, size, err
}

// ReadMapBegin reads the header of a map.
func (g *guarded) ReadMapBegin(ctx context.Context) (key, value thrift.TType, size int, err error) {
	if key, value, size, err = g.TBinaryProtocol.ReadMapBegin(ctx); err == nil {
		err = g.claim(size)
	}
	return key, value, size, err
}

func (g *guarded) enter() error {
	if g.depth == maxDepth {
		return thrift.NewTProtocolExceptionWithType(thrift.DEPTH_LIMIT, errDepth)
	}
	g.depth++
	return nil
}

var errDepth = errors.New("structs are nested deeper than 10000 levels, or one contains itself")

// ReadStructBegin counts the struct.
func (g *guarded) ReadStructBegin(context.Context) (string, error) { return "", g.enter() }

// ReadStructEnd ends what ReadStructBegin began.
func (g *guarded) ReadStructEnd(context.Context) error {
	g.depth--
	return nil
}

// WriteStructBegin counts the struct.
func (g *guarded) WriteStructBegin(context.Context, string) error { return g.enter() }

// WriteStructEnd ends what WriteStructBegin began.
func (g *guarded) WriteStructEnd(context.Context) error {
	g.depth--
	return nil
}

// Skip passes over a value that the target has no field for, through this
// protocol, not the one inside.
func (g *guarded) Skip(ctx context.Context, t thrift.TType) error {
	return thrift.Skip(ctx, g, t, maxDepth-g.depth)
}
