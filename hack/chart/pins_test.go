// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

// The definitions of ServiceMonitor and PrometheusRule are files of this
// module; the import keeps it in go.mod.
import _ "github.com/prometheus-operator/prometheus-operator/pkg/versionutil"
