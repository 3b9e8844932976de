// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options are for Watch. The zero value of each field means its default.
type Options struct {
	// Settle is how far two readings lie apart that must agree before a change is believed. Default 100ms.
	Settle time.Duration
	// Rescan is the time after which the folder is read again even if nothing was heard of it: notifications do not come from
	// every file system, nor from behind links. Default 2s.
	Rescan time.Duration
	// Revision is what the first Set counts on from.
	Revision uint64
}

// Watch reads a folder of manifests, or a single file, and follows its changes until ctx ends; then it returns nil. It
// returns an error only if path cannot be read at the start.
//
// onChange gets the state at the start, and then each state that differs from the one before, in the set or in the
// findings. It runs on the goroutine that called Watch, so that nothing runs any more once Watch has returned; while it
// runs, changes wait.
//
// A file that becomes broken keeps its last good objects, and a finding says why. A file that goes away takes its objects
// with it. If the folder itself cannot be read any more, everything stays as it was, and a finding says why.
func Watch(ctx context.Context, path string, o Options, onChange func(Set, []Finding)) error {
	setDefault(&o.Settle, 100*time.Millisecond)
	setDefault(&o.Rescan, 2*time.Second)
	w := &watch{path: path, options: o, tracker: newTracker(o.Revision), onChange: onChange}
	r, err := readPath(path)
	if err != nil {
		return err
	}
	if _, _, err := w.tracker.observe(r, true); err != nil {
		return err
	}
	// Without notifications the rescan alone finds changes.
	if notifier, err := fsnotify.NewWatcher(); err == nil {
		defer notifier.Close()
		w.notifier = notifier
	}
	onChange(w.tracker.set, w.tracker.findings)
	return w.run(ctx)
}

// watch is the state of one Watch. It belongs to the goroutine that runs it.
type watch struct {
	path     string
	options  Options
	tracker  *tracker
	onChange func(Set, []Finding)
	notifier *fsnotify.Watcher // nil if the system has none to give

	listening map[string]bool // the folders that notifications come from

	lost string // why the folder could not be read, or empty
}

func (w *watch) run(ctx context.Context) error {
	var events <-chan fsnotify.Event
	var failures <-chan error
	if w.notifier != nil {
		events, failures = w.notifier.Events, w.notifier.Errors
	}
	rescan := time.NewTicker(w.options.Rescan)
	defer rescan.Stop()
	settle := time.NewTimer(0) // begins with a look, which is what starts to listen
	defer settle.Stop()
	waiting := true // for settle, which does what an event would ask for
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-events:
			if !ok {
				events = nil
			}
		case _, ok := <-failures: // such as events lost: look for oneself
			if !ok {
				failures = nil
			}
		case <-rescan.C:
		case <-settle.C:
			waiting = false
		}
		if waiting {
			continue
		}
		settled, err := w.look()
		if err != nil {
			return err
		}
		if !settled {
			settle.Reset(w.options.Settle)
			waiting = true
		}
	}
}

// look reads the folder and tells what changed. settled is false if it has to look again soon.
func (w *watch) look() (settled bool, err error) {
	r, err := readPath(w.path)
	if err != nil {
		w.lose(err)
		return true, nil
	}
	fresh := w.listen(r)
	changed, settled, err := w.tracker.observe(r, false)
	if err != nil {
		return false, err
	}
	if changed || w.lost != "" {
		w.lost = ""
		w.onChange(w.tracker.set, w.tracker.findings)
	}
	return settled && !fresh, nil
}

// lose says, once for each reason, that the folder cannot be read and that everything stays.
func (w *watch) lose(err error) {
	if w.lost == err.Error() {
		return
	}
	w.lost = err.Error()
	gone := Finding{File: w.path, Message: "everything read before stays: " + w.lost}
	w.onChange(w.tracker.set, append([]Finding{gone}, w.tracker.findings...))
}

// listen asks for notifications from every folder that was read, and tells whether one of them is new: what happened in
// it since it was read went unheard. Folders that cannot be listened to are left to the rescan.
func (w *watch) listen(r *reading) (fresh bool) {
	if w.notifier == nil {
		return false
	}
	listening := make(map[string]bool, len(r.folders))
	for _, folder := range r.folders {
		// Also those listened to already: a folder may have gone and come back, and then it is another one.
		if err := w.notifier.Add(folder); err == nil {
			listening[folder] = true
			fresh = fresh || !w.listening[folder]
		}
	}
	w.listening = listening
	return fresh
}
