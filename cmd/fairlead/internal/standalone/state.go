// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead/fairlead/internal/compile"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// stateFormat is the only one that is written, and read.
const stateFormat = 1

const (
	stateName = "state.json"
	lockName  = "lock"
)

// state is what must outlive the process.
type state struct {
	// epoch says which history the revisions belong to.
	epoch string
	// revision counts accepted changes.
	revision  uint64
	instances []*compile.Instance
}

// stateFile is state as it is written.
type stateFile struct {
	Format   int          `json:"format"`
	Epoch    string       `json:"epoch"`
	Revision uint64       `json:"revision"`
	Leases   []savedLease `json:"leases"`
}

type savedLease struct {
	Service  string            `json:"service"`
	Address  string            `json:"address"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Ready    bool              `json:"ready"`
}

// stateDir is the folder of the state. It belongs to one process at a time.
type stateDir struct {
	path string
	lock *os.File // locked until it is closed
}

// defaultStateDir is the folder for the state of a control plane that serves
// these manifests.
func defaultStateDir(manifests string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no folder for the state: %w; name one with --state", err)
	}
	abs, err := filepath.Abs(manifests)
	if err != nil {
		return "", fmt.Errorf("manifests %q: %w", manifests, err)
	}
	if direct, err := filepath.EvalSymlinks(abs); err == nil {
		abs = direct // or it is not there, which whoever reads it will say
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(cache, "fairlead", "standalone", hex.EncodeToString(sum[:8])), nil
}

// InUseError is a state folder that another process has.
type InUseError struct {
	// Dir is the folder, PID the other process, if it said so.
	Dir, PID string
}

// Error says who has the folder and what to do.
func (e *InUseError) Error() string {
	who := "another process"
	if e.PID != "" {
		who = "process " + e.PID
	}
	return fmt.Sprintf("state folder %s is in use by %s; stop that one, or name another folder with --state", e.Dir, who)
}

// openStateDir makes the folder if need be and locks it.
func openStateDir(path string) (*stateDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	name := filepath.Join(path, lockName)
	lock, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := lockFile(lock); err != nil {
		_ = lock.Close() // not ours
		if !errors.Is(err, errLocked) {
			return nil, fmt.Errorf("locking %s: %w", name, err)
		}
		pid, err := os.ReadFile(name)
		if err != nil {
			pid = nil // it is in use all the same
		}
		return nil, &InUseError{Dir: path, PID: strings.TrimSpace(string(pid))}
	}
	d := &stateDir{path: path, lock: lock}
	if err := d.sign(); err != nil {
		d.close()
		return nil, fmt.Errorf("state folder: %w", err)
	}
	return d, nil
}

// sign writes into the lock file who has it, for people.
func (d *stateDir) sign() error {
	if err := d.lock.Truncate(0); err != nil {
		return err
	}
	_, err := d.lock.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

// close lets the folder go.
func (d *stateDir) close() { _ = d.lock.Close() } // which unlocks it

// load reads the state; a new one if there is none. damaged says why what was
// there cannot be used: it is put aside, and the new state begins a new epoch,
// so that nobody compares its revisions with those that are lost.
func (d *stateDir) load() (s state, damaged, err error) {
	name := filepath.Join(d.path, stateName)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return newState(), nil, nil
	}
	if err != nil {
		return state{}, nil, fmt.Errorf("state: %w", err)
	}
	s, err = parseState(data)
	var format *formatError
	switch {
	case errors.As(err, &format):
		return state{}, nil, fmt.Errorf("state %s: %w", name, err)
	case err != nil:
		damaged = fmt.Errorf("state %s: %w", name, err)
		if err := os.Rename(name, name+".damaged"); err != nil {
			return state{}, nil, fmt.Errorf("%w; putting it aside: %w", damaged, err)
		}
		return newState(), damaged, nil
	}
	return s, nil, nil
}

func newState() state { return state{epoch: rand.Text()} }

// formatError is a state of another version.
type formatError struct{ format int }

func (e *formatError) Error() string {
	return fmt.Sprintf("format %d is not known, only %d: another version wrote it; use that one, or another folder with --state", e.format, stateFormat)
}

func parseState(data []byte) (state, error) {
	var f stateFile
	err := json.Unmarshal(data, &f)
	var other *json.UnmarshalTypeError // a later format may mean something else by a field
	switch {
	case err != nil && !errors.As(err, &other):
		return state{}, err
	case f.Format != stateFormat && f.Format != 0:
		return state{}, &formatError{f.Format}
	case err != nil:
		return state{}, err
	case f.Format == 0 || f.Epoch == "":
		return state{}, errors.New("format or epoch is missing")
	}
	s := state{epoch: f.Epoch, revision: f.Revision}
	for _, l := range f.Leases {
		i, err := newInstance(l.Service, l.Address, l.Metadata, l.Ready)
		if err != nil {
			return state{}, fmt.Errorf("lease of %q: %w", l.Address, err)
		}
		s.instances = append(s.instances, i)
	}
	return s, nil
}

// newInstance checks what says to be an instance and takes it in.
func newInstance(service, address string, metadata map[string]string, ready bool) (*compile.Instance, error) {
	if err := policy.ValidateServiceName(service); err != nil {
		return nil, err
	}
	namespace, name, _ := strings.Cut(service, "/")
	i := &compile.Instance{
		Service: compile.Key{Namespace: namespace, Name: name}, Address: address, Metadata: metadata, Ready: ready,
	}
	e := policy.Endpoint{ID: i.Key().Name, Addresses: []string{address}, Zone: metadata["zone"]}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	if len(metadata) > maxMetadata {
		return nil, fmt.Errorf("%d keys of metadata, more than %d", len(metadata), maxMetadata)
	}
	for k, v := range metadata {
		if len(k)+len(v) > maxMetadataBytes {
			return nil, fmt.Errorf("metadata %.80q has %d bytes, more than %d", k, len(k)+len(v), maxMetadataBytes)
		}
	}
	return i, nil
}

// What an instance may say of itself.
const (
	maxMetadata      = 32
	maxMetadataBytes = 512
)

// save writes the state: all of it or nothing, and on the disk when it returns.
func (d *stateDir) save(s state) error {
	f := stateFile{Format: stateFormat, Epoch: s.epoch, Revision: s.revision, Leases: []savedLease{}}
	for _, i := range s.instances {
		f.Leases = append(f.Leases, savedLease{Service: i.Service.String(), Address: i.Address, Metadata: i.Metadata, Ready: i.Ready})
	}
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	name := filepath.Join(d.path, stateName)
	if err := writeSynced(name+".new", append(data, '\n')); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if err := syncDir(d.path); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// syncDir makes a rename last.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeSynced(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
