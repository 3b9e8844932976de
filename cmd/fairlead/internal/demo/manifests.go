// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// manifests is the folder that the control plane reads, as a team would write it.
type manifests struct{ folder string }

const serviceText = `# What the owners of arith say about it. Its instances register themselves.
apiVersion: rpc.fairlead.dev/v1alpha1
kind: RPCService
metadata: {name: arith, namespace: shop}
spec:
  source: {type: Registered}
  methods:
  - {name: Arith.Mul, idempotency: Idempotent}
  - {name: Arith.Add}   # not idempotent: sent again only if it certainly did not run
  - {name: Arith.Sleep} # not idempotent
---
# How everybody calls it.
apiVersion: rpc.fairlead.dev/v1alpha1
kind: RPCCallPolicy
metadata: {name: arith, namespace: shop}
spec:
  targetRefs: [{group: rpc.fairlead.dev, kind: RPCService, name: arith}]
  timeout: 5s
  failMode: Failover
  retry: {attempts: 3}
`

const sleepText = `# How everybody calls Arith.Sleep.
apiVersion: rpc.fairlead.dev/v1alpha1
kind: RPCCallPolicy
metadata: {name: sleep, namespace: shop}
spec:
  targetRefs: [{group: rpc.fairlead.dev, kind: RPCService, name: arith, sectionName: Arith.Sleep}]
  timeout: %dms
`

const limitText = `# What each instance of arith admits of Arith.Mul.
apiVersion: rpc.fairlead.dev/v1alpha1
kind: RPCLimitPolicy
metadata: {name: arith, namespace: shop}
spec:
  targetRefs: [{group: rpc.fairlead.dev, kind: RPCService, name: arith, sectionName: Arith.Mul}]
  limits:
  - name: demo
    rate: {count: %d, interval: 1s, burst: %d}
`

func (m manifests) writeService() error { return m.write("arith.yaml", serviceText) }

func (m manifests) writeTimeout(d time.Duration) error {
	return m.write("sleep.yaml", fmt.Sprintf(sleepText, d.Milliseconds()))
}

// writeLimit limits each instance to so many calls a second. The burst, half a
// second's worth, evens out a machine that stalls.
func (m manifests) writeLimit(perSecond int) error {
	return m.write("limit.yaml", fmt.Sprintf(limitText, perSecond, max(perSecond/2, 1)))
}

func (m manifests) removeLimit() error {
	return os.Remove(filepath.Join(m.folder, "limit.yaml"))
}

// write puts a file in place at once, so that nobody reads half of it.
func (m manifests) write(name, text string) error {
	if err := os.MkdirAll(m.folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	hidden := filepath.Join(m.folder, "."+name+".new")
	if err := os.WriteFile(hidden, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(hidden, filepath.Join(m.folder, name))
}
