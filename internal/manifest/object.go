// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
)

// identity is what no two objects may share.
type identity struct{ kind, namespace, name string }

func (id identity) String() string { return id.kind + " " + id.namespace + "/" + id.name }

// object is a document that the API server would take.
type object struct {
	id     identity
	source *document // gives positions; nil once they are not needed any more
	named  Finding   // where metadata.name stands, without a message
	typed  metav1.Object
	// spec and all are digests of what the file says: of everything but metadata and status, and of everything.
	spec, all [sha256.Size]byte
}

// parsed is what a file says, taken apart.
type parsed struct {
	objects  []*object
	broken   []identity // of the documents that are refused, as far as they can be told
	findings []Finding
}

// ok tells whether the file as a whole is taken.
func (p *parsed) ok() bool { return !hasErrors(p.findings) }

// parseFile judges the text of one file.
func parseFile(file string, data []byte) (*parsed, error) {
	byKind, err := definitions()
	if err != nil {
		return nil, err
	}
	documents, findings := read(file, data)
	result := &parsed{findings: findings}
	first := make(map[identity]*document)
	for _, d := range documents {
		obj, found := judge(d, byKind)
		result.findings = append(result.findings, found...)
		if obj == nil {
			if id, ok := d.identity(); ok {
				result.broken = append(result.broken, id)
			}
			continue
		}
		if earlier := first[obj.id]; earlier != nil {
			message := fmt.Sprintf("%s stands twice in this file; it is already on line %d", obj.id, earlier.lineOf(earlier.root))
			result.findings = append(result.findings, d.finding(Error, "metadata.name", message))
			continue
		}
		first[obj.id] = d
		result.objects = append(result.objects, obj)
	}
	result.findings = bounded(sortFindings(result.findings))
	return result, nil
}

// maxFindings bounds what one file may report.
const maxFindings = 100

func bounded(findings []Finding) []Finding {
	if len(findings) <= maxFindings {
		return findings
	}
	kept, rest := findings[:maxFindings:maxFindings], findings[maxFindings:]
	last := Finding{File: rest[0].File, Line: rest[0].Line, Severity: Warning, Message: fmt.Sprintf("and %d more from here on", len(rest))}
	if hasErrors(rest) {
		last.Severity = Error
	}
	return append(kept, last)
}

// identity is what the document says it is, if it says so in the right form.
func (d *document) identity() (id identity, ok bool) {
	meta, _ := d.value["metadata"].(map[string]any)
	id.kind, _ = d.value["kind"].(string)
	id.name, _ = meta["name"].(string)
	id.namespace, _ = meta["namespace"].(string)
	if id.namespace == "" {
		id.namespace = metav1.NamespaceDefault
	}
	return id, id.kind != "" && id.name != ""
}

// judge does what the API server does with a document on create. It returns nil for what the server would refuse.
func judge(d *document, byKind map[string]*definition) (*object, []Finding) {
	apiVersion, _ := d.value["apiVersion"].(string)
	kind, _ := d.value["kind"].(string)
	k := kindOf(apiVersion, kind)
	if k == nil {
		return nil, d.findings([]remark{unknownKind(d.value)})
	}
	typed := k.new()
	var remarks []remark
	def := byKind[kind]
	if custom := k.check == nil; custom && def == nil {
		return nil, d.findings([]remark{{path: "kind", message: "there is no definition of " + kind + " in this build"}})
	} else if custom {
		remarks = misfits(d.value["metadata"], reflect.TypeFor[metav1.ObjectMeta](), "metadata")
		remarks = append(remarks, def.judge(d.value)...)
	} else {
		remarks = misfits(d.value, reflect.TypeOf(typed), "")
	}
	obj := &object{source: d, typed: typed}
	if !hasRemarkedErrors(remarks) {
		remarks = append(remarks, obj.decode(k)...)
	}
	if hasRemarkedErrors(remarks) {
		return nil, d.findings(remarks)
	}
	obj.named = d.finding(Error, "metadata.name", "")
	return obj, d.findings(remarks)
}

func hasRemarkedErrors(remarks []remark) bool {
	return slices.ContainsFunc(remarks, func(r remark) bool { return r.severity == Error })
}

// findings puts remarks where they belong in the file.
func (d *document) findings(remarks []remark) []Finding {
	findings := make([]Finding, 0, len(remarks))
	for _, r := range remarks {
		findings = append(findings, d.finding(r.severity, r.path, r.message))
	}
	return findings
}

// judge compares a custom resource with its definition. It takes out of value what the server would drop.
func (d *definition) judge(value map[string]any) (remarks []remark) {
	meant := make(map[string]bool) // fields that were perhaps misspelt
	unknown := d.unknown(value)
	for _, path := range unknown {
		parent, name := "", path
		if dot := strings.LastIndexByte(path, '.'); dot >= 0 {
			parent, name = path[:dot], path[dot+1:]
		}
		s := d.at(parent)
		if s != nil && s.Type != "object" {
			continue // the parent is of the wrong type altogether
		}
		var known []string
		if s != nil {
			known = slices.Sorted(maps.Keys(s.Properties))
		}
		meant[join(parent, nearest(name, known))] = true
		remarks = append(remarks, remark{path: path, message: unknownField(name, known)})
	}
	d.forget(value)
	errs := d.validate(value, len(unknown) == 0)
	errs = slices.DeleteFunc(errs, func(err *field.Error) bool {
		return err.Type == field.ErrorTypeRequired && meant[err.Field]
	})
	remarks = append(remarks, d.explain(errs, value)...)
	if len(remarks) == 0 && len(unknown) > 0 { // never take what the server refuses
		remarks = append(remarks, remark{path: unknown[0], message: unknownField("", nil)})
	}
	return remarks
}

// decode fills the typed object, checks what its Go type cannot say, and gives it what the server would.
func (o *object) decode(k *kindInfo) []remark {
	encoded, err := json.Marshal(o.source.value)
	if err != nil {
		return []remark{{message: "cannot be written as JSON: " + err.Error()}}
	}
	strict, err := kjson.UnmarshalStrict(encoded, o.typed)
	if err != nil {
		strict = append(strict, err)
	}
	var remarks []remark
	for _, err := range strict { // misfits found nothing, so this is what only the decoder knows
		remarks = append(remarks, remark{message: err.Error()})
	}
	if o.typed.GetNamespace() == "" {
		o.typed.SetNamespace(metav1.NamespaceDefault)
	}
	remarks = append(remarks, checkMeta(k, o.typed)...)
	if k.check != nil {
		remarks = append(remarks, k.check(o.typed)...)
	}
	o.id = identity{kind: k.kind, namespace: o.typed.GetNamespace(), name: o.typed.GetName()}
	o.all = sha256.Sum256(encoded)
	o.spec = digestOfSpec(o.source.value)
	dropServersMeta(o)
	return remarks
}

// dropServersMeta forgets what belongs to a server that the object was once read from. The UID stays: references in
// other objects may name it. Owners go: in a folder, the label alone says which Service an EndpointSlice belongs to.
func dropServersMeta(o *object) {
	o.typed.SetResourceVersion("")
	o.typed.SetGeneration(0)
	o.typed.SetCreationTimestamp(metav1.Time{})
	o.typed.SetDeletionTimestamp(nil)
	o.typed.SetDeletionGracePeriodSeconds(nil)
	o.typed.SetManagedFields(nil)
	o.typed.SetOwnerReferences(nil)
	if o.typed.GetUID() == "" {
		sum := sha256.Sum256([]byte(o.id.String()))
		text := hex.EncodeToString(sum[:16])
		o.typed.SetUID(types.UID(strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")))
	}
}

// digestOfSpec digests what raises metadata.generation when it changes.
func digestOfSpec(value map[string]any) [sha256.Size]byte {
	rest := make(map[string]any, len(value))
	for name, part := range value {
		if name != "metadata" && name != "status" {
			rest[name] = part
		}
	}
	encoded, err := json.Marshal(rest)
	if err != nil {
		return [sha256.Size]byte{} // cannot be: the whole was encoded just before
	}
	return sha256.Sum256(encoded)
}
