// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// started is a demo in a process of its own.
type started struct {
	cmd    *exec.Cmd
	out    *bufio.Reader
	pids   []int // of the demo's processes, as far as it has told them
	folder string
}

func startDemo(t *testing.T) *started {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &started{cmd: exec.Command(self, "demo")}
	d.cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	d.cmd.Stderr = t.Output()
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.out = bufio.NewReader(out)
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cmd.Process.Kill() }) // mostly gone by then
	return d
}

var (
	pidPattern    = regexp.MustCompile(`pid (\d+)`)
	folderPattern = regexp.MustCompile(`logs: (\S+)`)
)

// readUntil reads lines up to one that holds the text, and learns from them.
func (d *started) readUntil(t *testing.T, text string) {
	t.Helper()
	for {
		line, err := d.out.ReadString('\n')
		if err != nil {
			t.Fatalf("the demo ended before it said %q: %v", text, err)
		}
		t.Log(strings.TrimSuffix(line, "\n"))
		for _, m := range pidPattern.FindAllStringSubmatch(line, -1) {
			pid, _ := strconv.Atoi(m[1])
			if pid != d.cmd.Process.Pid {
				d.pids = append(d.pids, pid)
			}
		}
		if m := folderPattern.FindStringSubmatch(line); m != nil {
			d.folder = m[1]
		}
		if strings.Contains(line, text) {
			return
		}
	}
}

// left are the processes of the demo that have not ended. Where there is /proc,
// those count that the demo has not told of, too: their arguments name the
// folder. Elsewhere a process counts while it can be sent a signal.
func (d *started) left() []string {
	if _, err := os.Stat("/proc/self/cmdline"); err == nil {
		return processesOf(d.folder)
	}
	var alive []string
	for _, pid := range d.pids {
		if syscall.Kill(pid, 0) == nil {
			alive = append(alive, strconv.Itoa(pid))
		}
	}
	return alive
}

func processesOf(folder string) (found []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, []byte(folder)) {
			found = append(found, fmt.Sprintf("%s: %q", file, text))
		}
	}
	return found
}

// waitUntilNothingIsLeft fails the test if anything is left after 5 s.
func (d *started) waitUntilNothingIsLeft(t *testing.T) {
	t.Helper()
	end := time.Now().Add(5 * time.Second)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for ; len(d.left()) > 0; <-ticker.C {
		if time.Now().After(end) {
			t.Fatalf("still there after 5 s: %s", d.left())
		}
	}
}

// Nothing is left of a demo that was ended, whichever way, whenever.
func TestEndsWhatItStarted(t *testing.T) {
	signals := []struct {
		signal syscall.Signal
		clean  bool // it ends by itself, and takes its files away
	}{
		{syscall.SIGINT, true},
		{syscall.SIGKILL, false},
	}
	moments := []string{"server b ", "== 1.", "== 3."}
	for _, s := range signals {
		for _, moment := range moments {
			t.Run(s.signal.String()+" at "+moment, func(t *testing.T) {
				t.Parallel()
				d := startDemo(t)
				d.readUntil(t, moment)
				if len(d.left()) == 0 {
					t.Fatal("none of its processes was found")
				}
				if err := d.cmd.Process.Signal(s.signal); err != nil {
					t.Fatal(err)
				}
				d.waitUntilNothingIsLeft(t)
				if _, err := io.Copy(io.Discard, d.out); err != nil {
					t.Error(err)
				}
				if err := d.cmd.Wait(); err == nil {
					t.Error("it ended with exit code 0")
				}
				if _, err := os.Stat(d.folder); s.clean && !os.IsNotExist(err) {
					t.Errorf("its files are still there: %v", err)
				}
			})
		}
	}
}

func TestScenario(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	err = Run(t.Context(), Config{Self: []string{self, "child"}, Out: io.MultiWriter(&out, t.Output()), Plan: shortPlan()})
	if err != nil {
		t.Fatal(err)
	}
	last := out.String()[strings.LastIndexByte(strings.TrimSpace(out.String()), '\n')+1:]
	want := regexp.MustCompile(`^demo: calls=\d+ failed=0 unknown=[1-9]\d* refused=[1-9]\d* duplicates=0 p99=\d+\.\d\dms kills=1 rolling_restarts=1 policy_changes=6 control_plane_restarts=1\n$`)
	if !want.MatchString(last) {
		t.Errorf("the last line is %q", last)
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A demo that goes wrong says why, keeps its files and says where they are.
func TestFailureIsTold(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	err = Run(t.Context(), Config{Self: []string{self, "child", "nonsense"}, Out: &out, Plan: shortPlan()})
	if !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	folder := folderPattern.FindStringSubmatch(out.String())[1]
	for _, want := range []string{"ended by itself", `role "nonsense"`, "Files and logs are in " + folder + "\n", "\ndemo: calls=0 "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing from\n%s", want, out.String())
		}
	}
	if _, err := os.Stat(folder); err != nil {
		t.Error(err)
	}
}

// The pipe alone ends a process, where the kernel does not kill it with its
// parent.
func TestChildEndsWithItsInput(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	children := [][]string{
		{roleServer, "--name", "a", "--ledger", filepath.Join(folder, "a.ledger")},
		{roleControlPlane, "--manifests", folder, "--state", folder, "--listen", "127.0.0.1:0"},
		{roleCaller, "--rate", "1", "--cache", folder},
	}
	for _, args := range children {
		cmd := exec.CommandContext(t.Context(), self, append([]string{"child"}, args...)...)
		cmd.Env = append(os.Environ(), "FAIRLEAD_REGISTRY=127.0.0.1:1")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		stdin.Close()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Errorf("%s: still there 5 s after the end of its input", args[0])
			_ = cmd.Process.Kill()
			<-ended
		}
	}
}
