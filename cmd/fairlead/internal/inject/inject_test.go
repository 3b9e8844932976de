// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const deployment = `# What the shop sells.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: cart # the cart
  namespace: shop
spec:
  replicas: 3   # as many as zones
  template:
    spec:
      containers:
      # The program.
      - name: app
        image: "cart:1"
        ports: [{containerPort: 80}]
      - name: second
        image: x
        volumeMounts:
        - name: mine
          mountPath: /mine
      volumes:
      - name: mine
        emptyDir: {}
`

const other = `apiVersion: v1
kind: ConfigMap
metadata: {name:   odd}   # left   alone
data:
  text: |
    ---
    not a document
`

func spec(t *testing.T, text string) corev1.PodSpec {
	t.Helper()
	var d struct {
		Spec struct {
			Template struct{ Spec corev1.PodSpec }
		}
	}
	if err := yaml.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	return d.Spec.Template.Spec
}

func TestDeployment(t *testing.T) {
	out, found, err := Manifests([]byte(other + "---\n" + deployment))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0] != (Workload{"Deployment", "shop", "cart", true}) {
		t.Errorf("found %+v", found)
	}
	rest, same := strings.CutPrefix(string(out), other+"---\n")
	if !same {
		t.Errorf("what is no workload has changed:\n%s", out)
	}
	for _, comment := range []string{"# What the shop sells.", "# the cart", "# as many as zones", "# The program."} {
		if !strings.Contains(rest, comment) {
			t.Errorf("%q is lost", comment)
		}
	}
	if !strings.HasPrefix(rest, "# What the shop sells.\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: cart # the cart\n") {
		t.Errorf("the order has changed:\n%s", rest)
	}
	if !strings.Contains(rest, "\n      - name: app\n        image: \"cart:1\"\n") {
		t.Errorf("lists have moved:\n%s", rest)
	}
	deeper := "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n    - name: app\n      image: x\n"
	if out, _, err := Manifests([]byte(deeper)); err != nil || !strings.HasPrefix(string(out), deeper) {
		t.Errorf("lists that stand deeper have moved: %v\n%s", err, out)
	}
	got := spec(t, rest)
	if len(got.Volumes) != 3 || len(got.Containers[0].VolumeMounts) != 2 || len(got.Containers[1].VolumeMounts) != 3 {
		t.Fatalf("%+v", got)
	}
	sources := got.Volumes[1].Projected.Sources
	if got.Volumes[1].Name != "fairlead-config" || *sources[0].ConfigMap.Optional != true || sources[1].ServiceAccountToken.Audience != "fairlead" ||
		len(sources[2].DownwardAPI.Items) != 4 || got.Volumes[2].EmptyDir.SizeLimit.String() != "64Mi" {
		t.Errorf("volumes %+v", got.Volumes)
	}
	if m := got.Containers[0].VolumeMounts[0]; m.MountPath != "/var/run/fairlead" || !m.ReadOnly {
		t.Errorf("mount %+v", m)
	}

	again, found, err := Manifests(out)
	if err != nil || string(again) != string(out) || found[0].Changed {
		t.Errorf("the second time it changes something: %v %+v", err, found)
	}
}

func TestKinds(t *testing.T) {
	pod := "spec: {containers: [{name: a}]}"
	template := "spec: {template: {" + pod + "}}"
	for kind, body := range map[string]string{
		"v1 Pod": pod, "apps/v1 StatefulSet": template, "apps/v1 DaemonSet": template, "batch/v1 Job": template,
		"batch/v1 CronJob": "spec: {jobTemplate: {" + template + "}}",
	} {
		version, name, _ := strings.Cut(kind, " ")
		out, found, err := Manifests([]byte("apiVersion: " + version + "\nkind: " + name + "\n" + body + "\n"))
		if err != nil || len(found) != 1 || !found[0].Changed || !strings.Contains(string(out), "mountPath: /var/run/fairlead") {
			t.Errorf("%s: %v %+v\n%s", kind, err, found, out)
		}
	}
	list := "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  " + pod + "\n- apiVersion: v1\n  kind: Service\n"
	if out, found, err := Manifests([]byte(list)); err != nil || len(found) != 1 || !strings.Contains(string(out), "fairlead-cache") {
		t.Errorf("list: %v %+v\n%s", err, found, out)
	}
	for _, text := range []string{"", "# nothing\n", "---\n", "apiVersion: example.com/v1\nkind: Deployment\nspec: 3\n", "- a\n- b\n"} {
		if out, found, err := Manifests([]byte(text)); err != nil || len(found) != 0 || string(out) != text {
			t.Errorf("%q became %q: %v", text, out, err)
		}
	}
}

func TestOwnVolumeStays(t *testing.T) {
	own := strings.Replace(deployment, "- name: mine\n        emptyDir: {}", "- name: fairlead-cache\n        hostPath: {path: /cache}", 1)
	out, _, err := Manifests([]byte(own))
	if err != nil {
		t.Fatal(err)
	}
	got := spec(t, string(out))
	if len(got.Volumes) != 2 || got.Volumes[0].HostPath == nil || got.Volumes[1].Name != "fairlead-config" {
		t.Errorf("%+v", got.Volumes)
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a: [\n": "document 1",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n":                                             "Pod x: there is no spec",
		"apiVersion: v1\nkind: Pod\nspec: {volumes: 3, containers: []}\n":                              "volumes is no list",
		"apiVersion: v1\nkind: Pod\nspec: {}\n":                                                        "there are no containers",
		"a: 1\n---\napiVersion: v1\nkind: Pod\nspec: {containers: [3]}\n":                              "document 2",
		"apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, volumeMounts: {}}]}\nmetadata: {}\n": "volumeMounts is no list",
	} {
		if _, _, err := Manifests([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestDocumented holds what people copy by hand against what is added.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"volumes:\n" + Volumes, "volumeMounts:\n" + Mounts} {
		if !strings.Contains(string(page), text) {
			t.Errorf("docs/operations.md does not show:\n%s", text)
		}
	}
}
