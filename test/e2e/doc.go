// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e runs the product on a real cluster: charts, images, Pods, kubelet,
// DNS, Services, tokens; each scenario under constant load from a caller in a Pod
// that counts what becomes of its calls.
//
//	make e2e-build
//	KUBECONFIG=... E2E_LOAD_IMAGE='kind load image-archive' make test-e2e
//
// Any cluster does whose API server reaches Pods. Nothing is downloaded: the
// images are files in bin/e2e, and the command in E2E_LOAD_IMAGE, which gets
// their names as further arguments, hands them to the nodes. Without it they
// have to be there already. E2E_UPDATES is the number of rolling updates (10).
// E2E_EARLIER tells make e2e-build which commit to upgrade from; by default the
// release before this one, or the first commit that Helm could install. It needs
// the history: in a shallow clone, git fetch --unshallow --tags first.
//
// It does not measure: its bounds are those of a small machine that runs a whole
// cluster, and latencies are only printed.
//
// Main flow: TestE2E installs both charts, and the scenarios follow one after
// the other in namespaces that it makes and removes. Each makes what it needs; one
// that fails is followed by an installation in an empty namespace. What runs in
// the Pods is the program in workload, which each scenario asks by HTTP through
// the API server. Every scenario prints its figures, and how it ended, in lines
// that start with "e2e:".
//
// Concurrency: the scenarios run one after the other.
package e2e
