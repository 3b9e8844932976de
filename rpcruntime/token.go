// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// TokenSource returns the token that an attempt of a call carries; empty sends
// none. It is asked for every attempt, by any number of goroutines, so it is to
// answer from memory mostly. ctx is the call's. An error fails the call with
// Unauthenticated, unexecuted, and its text is shown: it must not hold a token.
type TokenSource func(ctx context.Context) (string, error)

// WithToken makes the client's calls carry a token, as rpcx's Auth does: the
// callee's authenticator gets it. Whoever reads a plaintext connection gets it
// too, so it goes together with WithTLS. Tokens are never logged.
func WithToken(source TokenSource) ClientOption {
	return clientOption(func(o *clientOptions) { o.token = source })
}

// StaticToken is a token that never changes.
func StaticToken(token string) TokenSource {
	return func(context.Context) (string, error) { return token, nil }
}

// TokenFile is a token in a file, white space around it left out, such as one
// that Kubernetes mounts and rotates. At most once a second it looks whether the
// file has changed. While the file cannot be read, or is empty, the last good
// token stays in use; without one, calls fail. A file of more than 64 KiB is an
// error.
func TokenFile(path string) TokenSource {
	f := &tokenFile{path: path, now: time.Now}
	return f.token
}

const (
	// maxTokenFile is the most that a token may take, in bytes: what metadata may.
	maxTokenFile = 64 << 10
	// tokenFileEvery is the least time between two looks at a file.
	tokenFileEvery = time.Second
	// tokenFileSettled is how old a change must be for the file's time to tell it
	// from a later one: clocks of file systems are coarse.
	tokenFileSettled = 2 * time.Second
)

// tokenFile is a token that is read again when its file has changed.
//
// Invariant: good is replaced as a whole, by whoever holds mu.
type tokenFile struct {
	path string
	now  func() time.Time

	good atomic.Pointer[readToken] // nil until the file was read once

	// looked is when the file was looked at last, in Unix nanoseconds; 0: never.
	looked atomic.Int64
	mu     sync.Mutex // guards looking at the file, and failed
	failed error      // how the last look went
}

// readToken is what a file held. It is immutable.
type readToken struct {
	token string
	info  os.FileInfo
	// settled: the file had not just been changed when it was read.
	settled bool
}

func (f *tokenFile) token(context.Context) (string, error) {
	if good := f.good.Load(); good == nil {
		f.mu.Lock()
	} else if !f.due(f.now()) || !f.mu.TryLock() {
		return good.token, nil // one caller looks, the others need not wait
	}
	defer f.mu.Unlock()
	if now := f.now(); f.due(now) {
		f.failed = f.look(now)
		f.looked.Store(now.UnixNano())
	}
	if good := f.good.Load(); good != nil {
		return good.token, nil
	}
	return "", f.failed
}

// due reports whether the file is to be looked at.
func (f *tokenFile) due(now time.Time) bool {
	looked := f.looked.Load()
	return looked == 0 || now.UnixNano()-looked >= int64(tokenFileEvery)
}

// look reads the file if it has changed. REQUIRES: mu is held.
func (f *tokenFile) look(now time.Time) error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nothing was written
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if good := f.good.Load(); good != nil && good.settled && os.SameFile(good.info, info) &&
		good.info.ModTime().Equal(info.ModTime()) && good.info.Size() == info.Size() {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(file, maxTokenFile+1))
	if err != nil {
		return err
	}
	if len(b) > maxTokenFile {
		return fmt.Errorf("%s holds more than %d bytes: that is no token", f.path, maxTokenFile)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return fmt.Errorf("%s is empty", f.path)
	}
	f.good.Store(&readToken{token, info, now.Sub(info.ModTime()) >= tokenFileSettled})
	return nil
}

// token asks for the token of an attempt.
func (o *outgoingCall) token(ctx context.Context) *status.Error {
	source := o.client.opts.token
	if source == nil {
		return nil
	}
	token, err := source(ctx)
	if err != nil {
		if isContextError(err) && ctx.Err() != nil {
			return status.Convert(ctx.Err()).WithFate(status.FateUnexecuted)
		}
		return status.Errorf(status.Unauthenticated, "no token: %w", err).WithFate(status.FateUnexecuted)
	}
	if len(token) > maxTokenFile {
		return status.Errorf(status.Unauthenticated, "no token: %w", errTokenSize).WithFate(status.FateUnexecuted)
	}
	o.req.Token = token
	return nil
}

var errTokenSize = errors.New("the source gave one of more than 64 KiB, which no peer takes")
