// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package thrift

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/apache/thrift/lib/go/thrift"
)

// The types of this file do what thrift's compiler makes types do, older
// versions of which make slices and maps as large as the input says. Other than
// there, maps and sets are written in order.

// Args is
//
//	struct Args { 1: required i32 A, 2: i32 B }
type Args struct {
	A, B int32
}

func (p *Args) Write(ctx context.Context, o thrift.TProtocol) error {
	return errors.Join(
		o.WriteStructBegin(ctx, "Args"),
		o.WriteFieldBegin(ctx, "A", thrift.I32, 1), o.WriteI32(ctx, p.A), o.WriteFieldEnd(ctx),
		o.WriteFieldBegin(ctx, "B", thrift.I32, 2), o.WriteI32(ctx, p.B), o.WriteFieldEnd(ctx),
		o.WriteFieldStop(ctx), o.WriteStructEnd(ctx),
	)
}

func (p *Args) Read(ctx context.Context, i thrift.TProtocol) error {
	hasA := false
	err := readFields(ctx, i, func(id int16) (thrift.TType, func() error) {
		switch id {
		case 1:
			hasA = true
			return thrift.I32, func() (err error) { p.A, err = i.ReadI32(ctx); return err }
		case 2:
			return thrift.I32, func() (err error) { p.B, err = i.ReadI32(ctx); return err }
		}
		return 0, nil
	})
	if err == nil && !hasA {
		return thrift.NewTProtocolExceptionWithType(thrift.INVALID_DATA, errors.New("required field A is not set"))
	}
	return err
}

// readFields is the loop that all generated code has: a field of another type
// than expected, or of an unknown number, is skipped.
func readFields(ctx context.Context, i thrift.TProtocol, field func(id int16) (thrift.TType, func() error)) error {
	if _, err := i.ReadStructBegin(ctx); err != nil {
		return err
	}
	for {
		_, t, id, err := i.ReadFieldBegin(ctx)
		if err != nil {
			return thrift.PrependError("field read error: ", err)
		}
		if t == thrift.STOP {
			return i.ReadStructEnd(ctx)
		}
		want, read := field(id)
		if read == nil || t != want {
			read = func() error { return i.Skip(ctx, t) }
		}
		if err := errors.Join(read(), i.ReadFieldEnd(ctx)); err != nil {
			return err
		}
	}
}

// list reads a list: its claimed size is room to begin with.
func list[T any](ctx context.Context, i thrift.TProtocol, read func() (T, error)) ([]T, error) {
	_, size, err := i.ReadListBegin(ctx)
	if err != nil {
		return nil, err
	}
	l := make([]T, 0, size)
	for range size {
		v, err := read()
		if err != nil {
			return nil, err
		}
		l = append(l, v)
	}
	return l, i.ReadListEnd(ctx)
}

// Tree is
//
//	struct Tree { 1: list<Tree> children }
type Tree struct {
	Children []*Tree
}

func (p *Tree) Write(ctx context.Context, o thrift.TProtocol) error {
	if err := o.WriteStructBegin(ctx, "Tree"); err != nil {
		return err
	}
	err := errors.Join(o.WriteFieldBegin(ctx, "children", thrift.LIST, 1), o.WriteListBegin(ctx, thrift.STRUCT, len(p.Children)))
	if err != nil {
		return err
	}
	for _, c := range p.Children {
		if err := c.Write(ctx, o); err != nil {
			return err
		}
	}
	return errors.Join(o.WriteListEnd(ctx), o.WriteFieldEnd(ctx), o.WriteFieldStop(ctx), o.WriteStructEnd(ctx))
}

func (p *Tree) Read(ctx context.Context, i thrift.TProtocol) error {
	return readFields(ctx, i, func(id int16) (thrift.TType, func() error) {
		if id != 1 {
			return 0, nil
		}
		return thrift.LIST, func() (err error) {
			p.Children, err = list(ctx, i, func() (*Tree, error) { c := new(Tree); return c, c.Read(ctx, i) })
			return err
		}
	})
}

// All has a field of every type.
type All struct {
	Bool   bool               // 1
	I8     int8               // 2
	I16    int16              // 3
	I32    int32              // 4
	I64    int64              // 5
	Double float64            // 6
	String string             // 7
	Binary []byte             // 8
	List   []*Args            // 9: list<Args>
	Set    map[int32]struct{} // 10: set<i32>
	Map    map[string]int64   // 11: map<string, i64>
	Struct *Args              // 12: optional
	UUID   thrift.Tuuid       // 13
	Lists  [][]int64          // 14: list<list<i64>>
}

func (p *All) Write(ctx context.Context, o thrift.TProtocol) error {
	errs := []error{
		o.WriteStructBegin(ctx, "All"),
		o.WriteFieldBegin(ctx, "bool", thrift.BOOL, 1), o.WriteBool(ctx, p.Bool),
		o.WriteFieldBegin(ctx, "i8", thrift.BYTE, 2), o.WriteByte(ctx, p.I8),
		o.WriteFieldBegin(ctx, "i16", thrift.I16, 3), o.WriteI16(ctx, p.I16),
		o.WriteFieldBegin(ctx, "i32", thrift.I32, 4), o.WriteI32(ctx, p.I32),
		o.WriteFieldBegin(ctx, "i64", thrift.I64, 5), o.WriteI64(ctx, p.I64),
		o.WriteFieldBegin(ctx, "double", thrift.DOUBLE, 6), o.WriteDouble(ctx, p.Double),
		o.WriteFieldBegin(ctx, "string", thrift.STRING, 7), o.WriteString(ctx, p.String),
		o.WriteFieldBegin(ctx, "binary", thrift.STRING, 8), o.WriteBinary(ctx, p.Binary),
		o.WriteFieldBegin(ctx, "list", thrift.LIST, 9), o.WriteListBegin(ctx, thrift.STRUCT, len(p.List)),
	}
	for _, v := range p.List {
		errs = append(errs, v.Write(ctx, o))
	}
	errs = append(errs, o.WriteFieldBegin(ctx, "set", thrift.SET, 10), o.WriteSetBegin(ctx, thrift.I32, len(p.Set)))
	for _, v := range slices.Sorted(maps.Keys(p.Set)) {
		errs = append(errs, o.WriteI32(ctx, v))
	}
	errs = append(errs, o.WriteFieldBegin(ctx, "map", thrift.MAP, 11), o.WriteMapBegin(ctx, thrift.STRING, thrift.I64, len(p.Map)))
	for _, k := range slices.Sorted(maps.Keys(p.Map)) {
		errs = append(errs, o.WriteString(ctx, k), o.WriteI64(ctx, p.Map[k]))
	}
	if p.Struct != nil {
		errs = append(errs, o.WriteFieldBegin(ctx, "struct", thrift.STRUCT, 12), p.Struct.Write(ctx, o))
	}
	errs = append(errs, o.WriteFieldBegin(ctx, "uuid", thrift.UUID, 13), o.WriteUUID(ctx, p.UUID))
	errs = append(errs, o.WriteFieldBegin(ctx, "lists", thrift.LIST, 14), o.WriteListBegin(ctx, thrift.LIST, len(p.Lists)))
	for _, l := range p.Lists {
		errs = append(errs, o.WriteListBegin(ctx, thrift.I64, len(l)))
		for _, v := range l {
			errs = append(errs, o.WriteI64(ctx, v))
		}
	}
	return errors.Join(append(errs, o.WriteFieldStop(ctx), o.WriteStructEnd(ctx))...)
}

func (p *All) Read(ctx context.Context, i thrift.TProtocol) error {
	return readFields(ctx, i, func(id int16) (thrift.TType, func() error) {
		switch id {
		case 1:
			return thrift.BOOL, func() (err error) { p.Bool, err = i.ReadBool(ctx); return err }
		case 2:
			return thrift.BYTE, func() (err error) { p.I8, err = i.ReadByte(ctx); return err }
		case 3:
			return thrift.I16, func() (err error) { p.I16, err = i.ReadI16(ctx); return err }
		case 4:
			return thrift.I32, func() (err error) { p.I32, err = i.ReadI32(ctx); return err }
		case 5:
			return thrift.I64, func() (err error) { p.I64, err = i.ReadI64(ctx); return err }
		case 6:
			return thrift.DOUBLE, func() (err error) { p.Double, err = i.ReadDouble(ctx); return err }
		case 7:
			return thrift.STRING, func() (err error) { p.String, err = i.ReadString(ctx); return err }
		case 8:
			return thrift.STRING, func() (err error) { p.Binary, err = i.ReadBinary(ctx); return err }
		case 12:
			return thrift.STRUCT, func() error { p.Struct = new(Args); return p.Struct.Read(ctx, i) }
		case 13:
			return thrift.UUID, func() (err error) { p.UUID, err = i.ReadUUID(ctx); return err }
		}
		return p.container(ctx, i, id)
	})
}

func (p *All) container(ctx context.Context, i thrift.TProtocol, id int16) (thrift.TType, func() error) {
	switch id {
	case 9:
		return thrift.LIST, func() (err error) {
			p.List, err = list(ctx, i, func() (*Args, error) { v := new(Args); return v, v.Read(ctx, i) })
			return err
		}
	case 10:
		return thrift.SET, func() error {
			_, size, err := i.ReadSetBegin(ctx)
			if err != nil {
				return err
			}
			p.Set = make(map[int32]struct{}, size)
			for range size {
				v, err := i.ReadI32(ctx)
				if err != nil {
					return err
				}
				p.Set[v] = struct{}{}
			}
			return i.ReadSetEnd(ctx)
		}
	case 11:
		return thrift.MAP, func() error {
			_, _, size, err := i.ReadMapBegin(ctx)
			if err != nil {
				return err
			}
			p.Map = make(map[string]int64, size)
			for range size {
				k, kerr := i.ReadString(ctx)
				v, verr := i.ReadI64(ctx)
				if err := errors.Join(kerr, verr); err != nil {
					return err
				}
				p.Map[k] = v
			}
			return i.ReadMapEnd(ctx)
		}
	case 14:
		return thrift.LIST, func() (err error) {
			p.Lists, err = list(ctx, i, func() ([]int64, error) {
				return list(ctx, i, func() (int64, error) { return i.ReadI64(ctx) })
			})
			return err
		}
	}
	return 0, nil
}
