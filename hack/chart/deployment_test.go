// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func deployment(t *testing.T, r *rendered) *appsv1.Deployment {
	t.Helper()
	d := &appsv1.Deployment{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(
		r.find("Deployment", "fairlead-manager").Object, d, true); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDeployment: what HA and hardening promise, by default.
func TestDeployment(t *testing.T) {
	d := deployment(t, mustRender(t, "fairlead", nil, modern))
	pod, manager := d.Spec.Template.Spec, d.Spec.Template.Spec.Containers[0]
	update := d.Spec.Strategy.RollingUpdate
	for what, ok := range map[string]bool{
		"2 replicas":              *d.Spec.Replicas == 2,
		"maxUnavailable 0":        *update.MaxUnavailable == intstr.FromInt32(0) && *update.MaxSurge == intstr.FromInt32(1),
		"two spreads":             len(pod.TopologySpreadConstraints) == 2,
		"one container":           len(pod.Containers) == 1 && len(pod.InitContainers) == 0,
		"non-root":                *pod.SecurityContext.RunAsNonRoot && *pod.SecurityContext.RunAsUser == 65532,
		"seccomp":                 pod.SecurityContext.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault,
		"read-only root":          *manager.SecurityContext.ReadOnlyRootFilesystem,
		"no escalation":           !*manager.SecurityContext.AllowPrivilegeEscalation,
		"no capabilities":         slices.Equal(manager.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}) && len(manager.SecurityContext.Capabilities.Add) == 0,
		"memory is limited":       !manager.Resources.Limits.Memory().IsZero() && manager.Resources.Limits.Cpu().IsZero(),
		"requests":                !manager.Resources.Requests.Memory().IsZero() && !manager.Resources.Requests.Cpu().IsZero(),
		"probes":                  manager.LivenessProbe.HTTPGet.Path == "/healthz" && manager.ReadinessProbe.HTTPGet.Path == "/readyz",
		"the image's version":     manager.Image == "ghcr.io/fairlead/fairlead:"+load(t, "fairlead").Metadata.AppVersion,
		"a token of our audience": pod.Volumes[0].Projected.Sources[0].ServiceAccountToken.Audience == "fairlead",
	} {
		if !ok {
			t.Errorf("not so: %s", what)
		}
	}
	for _, s := range pod.TopologySpreadConstraints {
		for key, value := range d.Spec.Selector.MatchLabels {
			if s.LabelSelector.MatchLabels[key] != value {
				t.Errorf("the spread over %s counts other Pods, too: %s is not %s", s.TopologyKey, key, value)
			}
		}
	}
}

// TestDrainFitsGrace: a Pod lives as long as its drain takes.
func TestDrainFitsGrace(t *testing.T) {
	for drain, want := range map[string]bool{"10s": true, "25s": true, "26s": false, "2m": false} {
		_, err := render(load(t, "fairlead"), values{"registry.drainTimeout": drain}, modern)
		if want != (err == nil) {
			t.Errorf("drainTimeout %s with 30 s of grace: %v", drain, err)
		}
	}
	if _, err := render(load(t, "fairlead"), values{"registry.drainTimeout": "1m30s", "manager.terminationGracePeriodSeconds": 95}, modern); err != nil {
		t.Error(err)
	}
}

// TestArguments: each value that becomes a flag does, and the defaults are left
// to the program.
func TestArguments(t *testing.T) {
	common := []string{"--registry-bind-address=:7443", "--health-probe-bind-address=:8081", "--metrics-bind-address=:8080"}
	for _, test := range []struct {
		v    values
		want []string
	}{
		{nil, common},
		{values{"metrics.enabled": false}, []string{common[0], common[1], "--metrics-bind-address=0"}},
		{values{"admin.enabled": false}, append(slices.Clone(common), "--admin-bind-address=0")},
		{values{"admin.port": 9082}, append(slices.Clone(common), "--admin-bind-address=127.0.0.1:9082")},
		{values{"registry.port": 9443, "metrics.port": 9090}, []string{"--registry-bind-address=:9443", common[1], "--metrics-bind-address=:9090"}},
		{values{"registry.tls.mode": "files"}, append(slices.Clone(common), "--registry-tls=files", "--registry-cert-dir=/etc/fairlead/tls")},
		{values{"registry.advertiseAddresses": []any{"a.example:1", "[2001:db8::1]:2"}},
			append(slices.Clone(common), "--registry-advertise-address=a.example:1,[2001:db8::1]:2")},
		{values{"registry.drainTimeout": "20s", "registry.epoch": 12345678}, append(slices.Clone(common), "--registry-drain-timeout=20s", "--epoch=12345678")},
		{values{"manager.log.level": "debug", "manager.log.format": "console", "manager.extraArgs": []any{"--kube-api-qps=5"}},
			append(slices.Clone(common), "--zap-log-level=debug", "--zap-encoder=console", "--kube-api-qps=5")},
	} {
		if got := deployment(t, mustRender(t, "fairlead", test.v, modern)).Spec.Template.Spec.Containers[0].Args; !slices.Equal(got, test.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", test.v, got, test.want)
		}
	}
}

// TestPorts: whatever the ports are, what refers to them follows by name.
func TestPorts(t *testing.T) {
	r := mustRender(t, "fairlead", values{"registry.port": 9443, "metrics.port": 9090, "admin.port": 9082, "networkPolicy.enabled": true}, modern)
	named := map[string]int32{}
	for _, p := range deployment(t, r).Spec.Template.Spec.Containers[0].Ports {
		named[p.Name] = p.ContainerPort
	}
	if want := fmt.Sprint(map[string]int32{"registry": 9443, "metrics": 9090, "health": 8081, "admin": 9082}); fmt.Sprint(named) != want {
		t.Errorf("ports %v, want %s", named, want)
	}
	// The admin port is on loopback: nothing leads there.
	for _, o := range r.objects {
		if text := fmt.Sprint(o.Object["spec"]); o.GetKind() != "Deployment" && (strings.Contains(text, "admin") || strings.Contains(text, "9082")) {
			t.Errorf("%s %s leads to the admin port: %s", o.GetKind(), o.GetName(), text)
		}
	}
	for service, port := range map[string]string{"fairlead-registry": "registry", "fairlead-metrics": "metrics"} {
		ports := at(t, r.find("Service", service), "spec", "ports").([]any)
		if got := ports[0].(map[string]any); got["targetPort"] != port || got["port"].(int64) != int64(named[port]) {
			t.Errorf("%s has %v", service, got)
		}
	}
}

// TestOverrides: a release of another name in another place refers to itself.
func TestOverrides(t *testing.T) {
	r := mustRender(t, "fairlead", values{
		"fullnameOverride": "line", "commonLabels": map[string]any{"team": "rpc"}, "serviceAccount.name": "who",
		"image.repository": "example.test/f", "image.digest": "sha256:" + strings.Repeat("a", 64), "image.tag": "v9",
		"imagePullSecrets": []any{map[string]any{"name": "pull"}}, "manager.priorityClassName": "system-cluster-critical",
		"manager.extraEnv": []any{map[string]any{"name": "GOMEMLIMIT", "value": "400MiB"}},
	}, modern)
	d := &appsv1.Deployment{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(r.find("Deployment", "line-manager").Object, d, true); err != nil {
		t.Fatal(err)
	}
	pod := d.Spec.Template.Spec
	for what, ok := range map[string]bool{
		"image":    pod.Containers[0].Image == "example.test/f@sha256:"+strings.Repeat("a", 64),
		"secret":   pod.ImagePullSecrets[0].Name == "pull",
		"account":  pod.ServiceAccountName == "who" && r.find("ServiceAccount", "who") != nil,
		"priority": pod.PriorityClassName == "system-cluster-critical",
		"env":      pod.Containers[0].Env[0].Name == "GOMEMLIMIT",
		"labels":   d.Labels["team"] == "rpc" && d.Spec.Template.Labels["team"] == "rpc" && d.Spec.Selector.MatchLabels["team"] == "",
		"registry": r.find("Service", "fairlead-registry") != nil && r.find("Service", "line-metrics") != nil,
		"subject":  at(t, r.find("ClusterRoleBinding", "line-manager"), "subjects").([]any)[0].(map[string]any)["name"] == "who",
	} {
		if !ok {
			t.Errorf("not as the values say: %s", what)
		}
	}
}
