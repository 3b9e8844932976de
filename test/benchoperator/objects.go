// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

const (
	namespaces     = 10
	podsPerService = 10
	rpcPort        = 8972
	// writers are how many requests the API server gets at a time.
	writers = 12
)

func splitDocuments(text []byte) [][]byte { return bytes.Split(text, []byte("\n---\n")) }

// place gives the namespace and the name of a service.
func place(n int) (namespace, name string) {
	return fmt.Sprintf("shop-%d", n%namespaces), fmt.Sprintf("svc-%04d", n)
}

// each calls do for every number below n, on several goroutines, until one
// fails.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for worker := range writers {
		all.Go(func() {
			for i := worker; i < n && ctx.Err() == nil; i += writers {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// fill makes everything but what is ours.
func (c *cluster) fill(ctx context.Context, services int) error {
	for n := range namespaces {
		namespace, _ := place(n)
		meta := metav1.ObjectMeta{Name: namespace}
		if _, err := c.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
			return err
		}
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "app"}}
		if _, err := c.kube.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	c.pods, c.slices = services*podsPerService, make([]*discoveryv1.EndpointSlice, services)
	return each(ctx, services, c.fillService)
}

// fillService makes one Service, its Pods and its slice.
func (c *cluster) fillService(ctx context.Context, n int) error {
	namespace, name := place(n)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone, Selector: map[string]string{"app": name},
			Ports: []corev1.ServicePort{{Name: "rpc", Port: rpcPort, Protocol: corev1.ProtocolTCP}},
		},
	}
	service, err := c.kube.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	portName, port, tcp := "rpc", int32(rpcPort), corev1.ProtocolTCP
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: name + "-x7k2p", Labels: map[string]string{
				discoveryv1.LabelServiceName: name, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io", "app": name,
			},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: name, UID: service.UID}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Port: &port, Protocol: &tcp}},
	}
	for i := range podsPerService {
		number := n*podsPerService + i
		pod, err := c.kube.CoreV1().Pods(namespace).Create(ctx, podOf(name, number), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		slice.Endpoints = append(slice.Endpoints, endpointOf(pod, number))
	}
	c.slices[n], err = c.kube.DiscoveryV1().EndpointSlices(namespace).Create(ctx, slice, metav1.CreateOptions{})
	return err
}

func address(number int) string {
	return fmt.Sprintf("10.%d.%d.%d", 1+number/62500, number/250%250, number%250+1)
}

// endpointOf is as the controller of EndpointSlices writes it.
func endpointOf(pod *corev1.Pod, number int) discoveryv1.Endpoint {
	yes, no, node, zone := true, false, pod.Spec.NodeName, fmt.Sprintf("zone-%c", 'a'+number%3)
	return discoveryv1.Endpoint{
		Addresses: []string{address(number)}, NodeName: &node, Zone: &zone,
		Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
}

// podOf is a Pod as a small application has it.
func podOf(app string, number int) *corev1.Pod {
	controller := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-7f9c8d6b5-%05d", app, number),
			Labels: map[string]string{
				"app": app, "app.kubernetes.io/name": app, "app.kubernetes.io/part-of": "shop", "pod-template-hash": "7f9c8d6b5",
			},
			Annotations: map[string]string{
				"prometheus.io/scrape": "true", "prometheus.io/port": "9090",
				"checksum/config": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: app + "-7f9c8d6b5", UID: types.UID("00000000-0000-0000-0000-000000000001"),
				Controller: &controller,
			}},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: "app", NodeName: fmt.Sprintf("node-%03d", number%200),
			Containers: []corev1.Container{containerOf(app, "app"), containerOf(app, "logs")},
			Tolerations: []corev1.Toleration{
				{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
				{Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
			},
		},
	}
	for _, name := range []string{"config", "secrets", "features"} {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: app + "-" + name}},
		}})
	}
	return pod
}

func containerOf(app, name string) corev1.Container {
	c := corev1.Container{
		Name: name, Image: "registry.example.com/shop/" + app + "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		Ports: []corev1.ContainerPort{{Name: name + "-rpc", ContainerPort: rpcPort, Protocol: corev1.ProtocolTCP}},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
		},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromInt32(8080)},
		}},
	}
	for i := range 20 {
		c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SHOP_SETTING_%02d", i), Value: fmt.Sprintf("https://%s.shop.svc:443/%02d", app, i)})
	}
	for _, volume := range []string{"config", "secrets", "features"} {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: "/etc/" + volume, ReadOnly: true})
	}
	return c
}

// declare makes what is ours.
func (c *cluster) declare(ctx context.Context, services int) error {
	if err := each(ctx, services, func(ctx context.Context, n int) error {
		namespace, name := place(n)
		port, safe := "rpc", v1alpha1.Idempotent
		return c.admin.Create(ctx, &v1alpha1.RPCService{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec: v1alpha1.RPCServiceSpec{
				Source:  v1alpha1.ServiceSource{Type: v1alpha1.SourceService, Service: &v1alpha1.ServiceReference{Name: name, Port: &port}},
				Methods: []v1alpha1.RPCMethod{{Name: "Shop.Get", Idempotency: &safe}, {Name: "Shop.List", Idempotency: &safe}, {Name: "Shop.Put"}},
			},
		})
	}); err != nil {
		return err
	}
	return each(ctx, namespaces, func(ctx context.Context, n int) error {
		namespace, _ := place(n)
		timeout, all := v1alpha1.Duration("800ms"), v1alpha1.AppliesToServices
		policy := &v1alpha1.RPCCallPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "all"}}
		policy.Spec.TargetRefs = []v1alpha1.CallTargetRef{{
			TargetRef: v1alpha1.TargetRef{Kind: v1alpha1.KindNamespace, Name: namespace, AppliesTo: &all},
		}}
		policy.Spec.Timeout = &timeout
		return c.admin.Create(ctx, policy)
	})
}
