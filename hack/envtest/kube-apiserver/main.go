// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kube-apiserver is the Kubernetes API server, built from its own
// module.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	// What upstream's own main package registers: JSON logs and the metrics of
	// client-go and of the version.
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
