// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
)

// quiet leaves out what controller-runtime logs under names that say nothing an
// operator needs: healthz tells at each probe that a check failed, and not why.
// Our own checks log what they wait for, when that changes.
func quiet(log logr.Logger) logr.Logger {
	if log.GetSink() == nil {
		return log
	}
	return log.WithSink(quietSink{log.GetSink()})
}

func quietNames() []string { return []string{"healthz"} }

// quietSink hands on all but what has a quiet name.
type quietSink struct{ logr.LogSink }

func (s quietSink) WithName(name string) logr.LogSink {
	if slices.Contains(quietNames(), name) {
		return funcr.New(func(string, string) {}, funcr.Options{}).GetSink() // logr's own has no sink
	}
	return quietSink{s.LogSink.WithName(name)}
}

func (s quietSink) WithValues(values ...any) logr.LogSink {
	return quietSink{s.LogSink.WithValues(values...)}
}

// WithCallDepth keeps it so that the line that logs is named, and not ours.
func (s quietSink) WithCallDepth(depth int) logr.LogSink {
	if sink, ok := s.LogSink.(logr.CallDepthLogSink); ok {
		return quietSink{sink.WithCallDepth(depth)}
	}
	return s
}
