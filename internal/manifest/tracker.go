// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tracker turns readings of a folder into Sets. It decides, per file, what to believe: a change that two readings agree
// on, content that is free of errors, and objects that no other file has. What it does not believe leaves the file's last
// good objects in place. It does no I/O, keeps no time and belongs to one goroutine.
type tracker struct {
	files  map[string]*file
	stamps map[identity]*stamp

	set      Set
	findings []Finding

	keepSources bool // for Lint, which points into files once more
}

// file is what is known of one file.
type file struct {
	// judged is the digest of the content that parsed is about; seen, if it differs, that of a newer content that one reading
	// has shown so far.
	judged, seen digest
	parsed       *parsed
	// good is the last content that was taken, or nil.
	good []*object
	// refused are findings that come from other files. They are made anew with each reading.
	refused []Finding
}

// digest tells contents apart. The zero digest is that of a file which is not there.
type digest [sha256.Size]byte

// stamp is what an object got in place of what an API server would have given it.
type stamp struct {
	from       *object
	generation int64
	typed      metav1.Object
}

func newTracker(revision uint64) *tracker {
	return &tracker{files: make(map[string]*file), stamps: make(map[identity]*stamp), set: Set{Revision: revision}}
}

// observe takes a reading. The first time it believes at once, after that only what two readings in a row agree on, so
// that a file which is being written is not read half. settled is false while something waits for the next reading.
// changed tells whether the set or the findings differ from before.
func (t *tracker) observe(r *reading, atOnce bool) (changed, settled bool, err error) {
	settled = true
	for path, c := range r.files {
		f := t.files[path]
		if f == nil {
			f = &file{}
			t.files[path] = f
		}
		now := c.digest()
		switch {
		case now == f.judged:
		case now == f.seen || atOnce:
			if f.parsed, err = t.parse(path, c); err != nil {
				return false, false, err
			}
			f.judged = now
		default:
			settled = false
		}
		f.seen = now
	}
	for path, f := range t.files {
		if _, there := r.files[path]; there || lostSight(path, r.unread) {
			continue
		}
		if f.seen != (digest{}) {
			f.seen, settled = digest{}, false
			continue
		}
		delete(t.files, path)
	}
	return t.accept(r.unread), settled, nil
}

// lostSight tells whether a path is, or lies in, something that could not be read.
func lostSight(path string, unread []Finding) bool {
	return slices.ContainsFunc(unread, func(f Finding) bool {
		return path == f.File || strings.HasPrefix(path, f.File+string(filepath.Separator))
	})
}

func (c content) digest() digest {
	if c.wrong != nil {
		return sha256.Sum256([]byte("\x00" + c.wrong.Message))
	}
	return sha256.Sum256(c.data)
}

func (t *tracker) parse(path string, c content) (*parsed, error) {
	if c.wrong != nil {
		return &parsed{findings: []Finding{*c.wrong}}, nil
	}
	p, err := parseFile(path, c.data)
	if err != nil {
		return nil, err
	}
	if !t.keepSources {
		for _, o := range p.objects {
			o.source = nil // many times as large as the object
		}
	}
	return p, nil
}

// accept settles who has which object, and makes the set anew if that changed anything.
func (t *tracker) accept(unread []Finding) (changed bool) {
	taken := t.resolve()
	findings := slices.Clone(unread)
	var objects []*object
	for path, f := range t.files {
		if f.parsed == nil {
			continue // seen once so far
		}
		if taken[path] {
			f.good = f.parsed.objects
		}
		objects = append(objects, f.good...)
		findings = append(findings, f.parsed.findings...)
		findings = append(findings, f.refused...)
	}
	findings = sortFindings(findings)
	changed = t.stamp(objects) || !slices.Equal(findings, t.findings)
	t.findings = findings
	return changed
}

// resolve decides which files are taken with their newest content: those without an error, save those which have an
// object that another file has, too. A file that loses keeps its last good objects, with which another may then collide,
// so it goes round until no more files lose.
func (t *tracker) resolve() (taken map[string]bool) {
	taken = make(map[string]bool)
	had := make(map[identity]string)
	for path, f := range t.files {
		f.refused = nil
		taken[path] = f.parsed != nil && f.parsed.ok()
		for _, o := range f.good {
			had[o.id] = path
		}
	}
	paths := slices.Sorted(maps.Keys(t.files))
	for lost := true; lost; {
		lost = false
		for path, collisions := range t.collisions(paths, taken, had) {
			t.files[path].refused = collisions
			taken[path], lost = false, true
		}
	}
	return taken
}

// collisions finds the files to be taken which have an object that is not theirs. An object belongs to a file that keeps
// its last good content, else to the file that had it before, else to the first path.
func (t *tracker) collisions(paths []string, taken map[string]bool, had map[identity]string) map[string][]Finding {
	owner := make(map[identity]*object)
	for _, path := range paths {
		if !taken[path] {
			for _, o := range t.files[path].good {
				owner[o.id] = o
			}
		}
	}
	found := make(map[string][]Finding)
	for _, before := range []bool{true, false} {
		for _, path := range paths {
			if !taken[path] {
				continue
			}
			for _, o := range t.files[path].parsed.objects {
				if before != (had[o.id] == path) {
					continue
				}
				if other := owner[o.id]; other != nil {
					found[path] = append(found[path], o.collision(other))
					continue
				}
				owner[o.id] = o
			}
		}
	}
	return found
}

func (o *object) collision(other *object) Finding {
	f := o.named
	f.Message = fmt.Sprintf("%s is already in %s:%d", o.id, other.named.File, other.named.Line)
	return f
}

// stamp gives objects what an API server would have given them, and makes the set of them if anything changed.
func (t *tracker) stamp(objects []*object) (changed bool) {
	next := t.set.Revision + 1
	stamps := make(map[identity]*stamp, len(objects))
	typed := make([]metav1.Object, 0, len(objects))
	for _, o := range objects {
		before := t.stamps[o.id]
		switch {
		case before == nil:
			before = &stamp{from: o, generation: 1, typed: o.typed}
			o.mark(1, next)
			changed = true
		case before.from.all != o.all:
			generation := before.generation
			if before.from.spec != o.spec {
				generation++
			}
			before = &stamp{from: o, generation: generation, typed: o.typed}
			o.mark(generation, next)
			changed = true
		}
		stamps[o.id] = before
		typed = append(typed, before.typed)
	}
	if !changed && len(stamps) == len(t.stamps) {
		return false
	}
	t.stamps = stamps
	t.set = newSet(typed, next)
	return true
}

func (o *object) mark(generation int64, revision uint64) {
	o.typed.SetGeneration(generation)
	o.typed.SetResourceVersion(strconv.FormatUint(revision, 10))
}
