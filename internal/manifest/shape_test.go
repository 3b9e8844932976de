// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding/json"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
)

// FuzzMisfits holds misfits to the strict decoder of the API server: they have something against the same objects.
func FuzzMisfits(f *testing.F) {
	for _, seed := range []string{
		`{"kind":"Service","metadata":{"name":"a","labels":{"a":"b"},"creationTimestamp":"2026-01-02T15:04:05Z"},"spec":{"ports":[{"port":1,"targetPort":"x"}]}}`,
		`{"spec":{"ports":[{"port":1.5,"targetPort":{}}],"selector":[],"externalIPs":"x","publishNotReadyAddresses":"y"}}`,
		`{"metadata":[1],"spec":null,"status":{"loadBalancer":{"ingress":[{"ip":1}]},"conditions":[{"lastTransitionTime":3}]}}`,
		`{"addressType":"IPv4","endpoints":[{"addresses":["a",1],"conditions":{"ready":1},"zone":2,"targetRef":{"uid":3}}],"ports":[{"port":4294967296}]}`,
		`{"metadata":{"managedFields":[{"fieldsV1":{"f:a":{}},"time":"x"}],"finalizers":["a",null],"deletionGracePeriodSeconds":-1}}`,
		`{"Spec":{},"Metadata":{},"METADATA":1,"apiversion":"v1","spec":{"sessionAffinityConfig":{"clientIP":{"timeoutSeconds":9223372036854775808}}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var value map[string]any
		if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &value); err != nil || value == nil {
			return
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		for _, into := range []metav1.Object{&corev1.Service{}, &discoveryv1.EndpointSlice{}} {
			found := misfits(value, reflect.TypeOf(into), "")
			strict, err := kjson.UnmarshalStrict(encoded, into)
			if refused := err != nil || len(strict) > 0; refused != (len(found) > 0) {
				t.Errorf("%T: misfits %v, the decoder %v, %v", into, found, err, strict)
			}
		}
	})
}
