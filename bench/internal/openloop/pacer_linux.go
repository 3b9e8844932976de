// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package openloop

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pacer sleeps as exactly as the kernel can. Go's own timers wait in epoll_wait,
// which counts milliseconds: with nothing else to do they are up to a millisecond
// late. A timer that is a file wakes epoll_wait when it is due, and the goroutine
// that waits for it holds neither a thread nor a P.
type pacer struct {
	timer *os.File
	fd    int // of timer, which stays open as long
	count [8]byte
}

func newPacer() (*pacer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("timerfd_create: %w", err)
	}
	return &pacer{timer: os.NewFile(uintptr(fd), "timerfd"), fd: fd}, nil
}

// until returns when it is due, or at once if that has passed.
func (p *pacer) until(due time.Time) error {
	wait := time.Until(due)
	if wait <= 0 {
		return nil
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(wait.Nanoseconds())}
	if err := unix.TimerfdSettime(p.fd, 0, &spec, nil); err != nil {
		return fmt.Errorf("timerfd_settime: %w", err)
	}
	if _, err := p.timer.Read(p.count[:]); err != nil {
		return fmt.Errorf("timerfd: %w", err)
	}
	return nil
}

func (p *pacer) close() { _ = p.timer.Close() }
