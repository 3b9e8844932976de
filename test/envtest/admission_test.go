// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"bytes"
	"errors"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// TestAdmission has the API server add to labelled Pods what `fairlead inject`
// adds to manifests.
func TestAdmission(t *testing.T) {
	s := common.space(t)
	for _, file := range []string{"policy.yaml", "binding.yaml"} {
		objects, err := read(root("config", "admission", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			if err := common.admin.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = common.admin.Delete(t.Context(), o) }() // the cluster goes, too
		}
	}
	binary := t.TempDir() + "/fairlead"
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/fairlead")
	build.Dir = root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pods := common.kube(t).CoreV1().Pods(s.name)
	create := func(p *corev1.Pod) (*corev1.Pod, error) {
		return pods.Create(t.Context(), p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	}
	for name, spec := range map[string]corev1.PodSpec{
		"bare": {Containers: []corev1.Container{{Name: "app", Image: "x"}}},
		"rich": {
			Containers: []corev1.Container{
				{Name: "app", Image: "x", VolumeMounts: []corev1.VolumeMount{{Name: "mine", MountPath: "/mine"}}},
				{Name: "second", Image: "y", VolumeMounts: []corev1.VolumeMount{{Name: "mine", MountPath: "/var/cache/fairlead"}}},
			},
			InitContainers: []corev1.Container{{Name: "init", Image: "z"}},
			Volumes:        []corev1.Volume{{Name: "mine", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
		"own cache": {
			Containers: []corev1.Container{{Name: "app", Image: "x"}},
			Volumes:    []corev1.Volume{{Name: "fairlead-cache", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/cache"}}}},
		},
	} {
		spec.ServiceAccountName = "default" // no controller of the test's API server sets it
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: spec}
			text, err := yaml.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			inject := exec.CommandContext(t.Context(), binary, "inject", "-f", "-")
			inject.Stdin = bytes.NewReader(text)
			out, err := inject.Output()
			if err != nil {
				t.Fatal(err)
			}
			injected := &corev1.Pod{}
			if err := yaml.UnmarshalStrict(out, injected); err != nil {
				t.Fatal(err)
			}
			want, err := create(injected)
			if err != nil {
				t.Fatal(err)
			}
			unlabelled, err := create(p.DeepCopy())
			if err != nil || len(unlabelled.Spec.Volumes) != len(spec.Volumes) {
				t.Errorf("a Pod without the label has %v: %v", unlabelled.Spec.Volumes, err)
			}
			p.Labels = map[string]string{"rpc.fairlead.dev/config": "mount"}
			var got *corev1.Pod
			eventually(t, func() error { // a policy is not in force at once
				if got, err = create(p.DeepCopy()); err != nil {
					return err
				}
				if len(got.Spec.Volumes) == len(spec.Volumes) {
					return errors.New("the policy has changed nothing")
				}
				return nil
			})
			if diff := cmp.Diff(want.Spec, got.Spec); diff != "" {
				t.Errorf("the policy does not do what inject does (-inject +policy):\n%s", diff)
			}
		})
	}
}
