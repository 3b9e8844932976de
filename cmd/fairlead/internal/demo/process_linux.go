// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel kill the process when the thread that started
// it ends. Go ends threads only with goroutines that are locked to them, and
// this program locks none.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
