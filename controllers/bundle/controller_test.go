// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/registry/gather"
	"github.com/fairlead/fairlead/internal/compile"
)

func namespace(name string, labelled bool) *metav1.PartialObjectMetadata {
	n := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if labelled {
		n.Labels = map[string]string{LabelRegistry: "true"}
	}
	return n
}

func rpc(namespace, name string) client.Object {
	return &v1alpha1.RPCService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func configMap(namespace, owner string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: Name, Labels: map[string]string{labelManaged: owner}}, Data: data,
	}
}

func TestWhereItIsWritten(t *testing.T) {
	c, err := New(Config{Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{KeyAddress: "a:1", KeyCA: "pem"}
	due := func(what, want string) {
		t.Helper()
		if got := strings.Join(c.due(content), " "); got != want {
			t.Errorf("%s: due %q, want %q", what, got, want)
		}
	}
	tell := func(kind string, op gather.Op, objects ...client.Object) {
		e := gather.Event{Kind: kind, Op: op, Objects: objects}
		if op != gather.List {
			e.Object = objects[0]
		}
		c.Receive(e)
	}
	maps := (*mapKeeper)(c)
	tell(compile.KindNamespace, gather.List, namespace("plain", false), namespace("labelled", true), namespace("holding", false), namespace("other", false))
	tell(compile.KindRPCService, gather.List, rpc("holding", "one"), rpc("holding", "two"))
	due("before the ConfigMaps are listed", "")
	maps.Replace([]*corev1.ConfigMap{configMap("other", "helm", content)})
	due("at first", "holding labelled") // the one of somebody else is his, as nobody asks for ours
	maps.Set(configMap("holding", managed, map[string]string{KeyAddress: "a:1", KeyCA: "pem", "more": "x"}))
	maps.Set(configMap("labelled", managed, content))
	due("when written", "")
	for _, wrong := range []map[string]string{
		{KeyAddress: "a:2", KeyCA: "pem"}, {KeyAddress: "a:1"}, {KeyAddress: "a:1", KeyCA: ""}, {},
	} {
		maps.Set(configMap("holding", managed, wrong))
		due("changed by hand", "holding")
	}
	maps.Set(configMap("holding", "", content))
	due("its label is gone", "holding")
	maps.Delete(configMap("holding", "", nil))
	due("deleted", "holding")
	tell(compile.KindRPCService, gather.Delete, rpc("holding", "one"))
	due("still holding", "holding")
	tell(compile.KindRPCService, gather.Delete, rpc("holding", "two"))
	due("not holding any more", "")
	maps.Set(configMap("holding", managed, map[string]string{KeyAddress: "old:1"}))
	due("once ours, it is kept right", "holding")
	tell(compile.KindRPCCallPolicy, gather.Set, &v1alpha1.RPCCallPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "plain", Name: "p"}})
	due("a policy", "holding plain")
	ending := namespace("plain", false)
	now := metav1.Now()
	ending.DeletionTimestamp = &now
	tell(compile.KindNamespace, gather.Set, ending)
	due("its namespace ends", "holding")
	tell(compile.KindNamespace, gather.Set, namespace("other", true))
	due("asked for where there is another's", "holding other")
	tell(compile.KindNamespace, gather.List, namespace("other", false))
	due("only one is left", "")
}
