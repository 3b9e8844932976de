// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !unix || aix || solaris

package standalone

import (
	"errors"
	"os"
	"runtime"
)

var errLocked = errors.New("locked by another process")

// lockFile refuses: two processes with one state would undo each other's leases.
func lockFile(*os.File) error {
	return errors.New("files cannot be locked on " + runtime.GOOS + "; use Linux, macOS or a BSD")
}
