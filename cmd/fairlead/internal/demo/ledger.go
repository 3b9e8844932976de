// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ledger is the file in which one server process notes the calls that it runs.
// What is written stays, even if the process is killed in the next instant.
type ledger struct{ file *os.File }

func openLedger(path string) (*ledger, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &ledger{file}, nil
}

// note writes down that the call is about to run. One write per line: lines of
// concurrent calls do not mix.
func (l *ledger) note(id string) error {
	_, err := l.file.WriteString(id + "\n")
	return err
}

// readLedger returns how often each id stands in the file; none if the file is
// not there yet. A last line without an end belongs to a call that never began.
func readLedger(path string) (map[string]int, error) {
	ran := map[string]int{}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ran, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for r := bufio.NewReader(file); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return ran, nil // the end of the file
		}
		ran[strings.TrimSuffix(line, "\n")]++
	}
}

// readLedgers adds up all ledgers in a folder.
func readLedgers(folder string) (map[string]int, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.ledger"))
	if err != nil {
		return nil, err
	}
	all := map[string]int{}
	for _, file := range files {
		ran, err := readLedger(file)
		if err != nil {
			return nil, err
		}
		for id, n := range ran {
			all[id] += n
		}
	}
	return all, nil
}

// audit holds what callers were told against what ran: duplicates are the ids
// that ran more than once. A call that was answered must have run, and one that
// was refused must not have: else the ledgers would prove nothing.
func audit(ran map[string]int, told map[string]outcome) (duplicates int, err error) {
	for _, n := range ran {
		if n > 1 {
			duplicates++
		}
	}
	var answeredOnly, refusedRan int
	for id, o := range told {
		switch {
		case o == answered && ran[id] == 0:
			answeredOnly++
		case o == refused && ran[id] > 0:
			refusedRan++
		}
	}
	if answeredOnly+refusedRan > 0 {
		err = fmt.Errorf("%d calls were answered that no server had noted, %d were refused that had run", answeredOnly, refusedRan)
	}
	return duplicates, err
}
