// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const group = "rpc.fairlead.dev"

// resources are those of our kinds.
var resources = []string{"rpcservices", "rpccallpolicies", "rpclimitpolicies"}

// keepsakes makes objects that have everything hanging on them that owners use.
func (c *cluster) keepsakes() {
	owner, err := c.kube.CoreV1().Services(space).Get(c.Context(), "work", metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	c.apply(c.manifest("upgrade.yaml", "SERVICE", owner.Name, "UID", string(owner.UID)))
}

// stored reads all custom resources of the cluster, and their definitions, in the
// bytes that the API server has. Left out is what no user writes and every write
// of the operator changes: the status, the revision, and who wrote the status when.
// Everything else counts, the generation for one: it rises with every change of
// the spec, even with one that is taken back.
func (c *cluster) stored() map[string]string {
	c.Helper()
	all := map[string]string{}
	for _, resource := range resources {
		var list struct{ Items []map[string]json.RawMessage }
		c.raw("/apis/"+group+"/v1alpha1/"+resource, &list)
		for _, object := range list.Items {
			var meta map[string]json.RawMessage
			var id struct{ Namespace, Name string }
			c.decode(object["metadata"], &meta)
			c.decode(object["metadata"], &id)
			meta["managedFields"] = c.encode(c.written(meta["managedFields"]))
			delete(meta, "resourceVersion")
			delete(object, "status")
			object["metadata"] = c.encode(meta)
			all[fmt.Sprintf("%s %s/%s", resource, id.Namespace, id.Name)] = string(c.encode(object))
		}
		if len(list.Items) == 0 {
			c.Fatalf("there are no %s: nothing could change", resource)
		}
		// Of a definition its release changes labels and annotations.
		var definition struct {
			Metadata struct{ UID, DeletionTimestamp json.RawMessage }
			Spec     json.RawMessage
		}
		c.raw("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"+resource+"."+group, &definition)
		all["definition "+resource] = string(c.encode(definition))
	}
	return all
}

// written leaves out who wrote the status.
func (c *cluster) written(managed json.RawMessage) []json.RawMessage {
	var entries, users []json.RawMessage
	c.decode(managed, &entries)
	for _, entry := range entries {
		var by struct{ Subresource string }
		if c.decode(entry, &by); by.Subresource != "status" {
			users = append(users, entry)
		}
	}
	return users
}

// kept reads what the operator made and nobody removes: the registry's authority,
// and what callers know of it.
func (c *cluster) kept() map[string]string {
	c.Helper()
	secret, err := c.kube.CoreV1().Secrets(operatorSpace).Get(c.Context(), "fairlead-registry-ca", metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	told := c.told()
	return map[string]string{
		// The key itself is not for a test's output.
		"Secret " + secret.Name:  fmt.Sprintf("%s %x", secret.UID, sha256.Sum256(c.encode(secret.Data))),
		"ConfigMap " + told.Name: fmt.Sprintf("%s %v", told.UID, told.Data),
	}
}

// told reads what the operator tells the callers in the scenarios' namespace.
func (c *cluster) told() *corev1.ConfigMap {
	c.Helper()
	told, err := c.kube.CoreV1().ConfigMaps(space).Get(c.Context(), "fairlead-registry", metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	return told
}

func (c *cluster) raw(path string, into any) {
	c.Helper()
	body, err := c.kube.CoreV1().RESTClient().Get().AbsPath(path).DoRaw(c.Context())
	if err != nil {
		c.Fatalf("%s: %v", path, err)
	}
	c.decode(body, into)
}

func (c *cluster) decode(text []byte, into any) {
	c.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) encode(v any) []byte {
	c.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		c.Fatal(err)
	}
	return text
}
