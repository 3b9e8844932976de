// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// operatorUser is who the operator is at the API server.
const operatorUser = "operator"

// cluster is an API server, and what is needed to use it.
type cluster struct {
	env *envtest.Environment
	// kube writes the kinds of Kubernetes, admin everything.
	kube  *kubernetes.Clientset
	admin client.Client
	// dir is a folder of this run's; kubeconfig in it is the operator's.
	dir, kubeconfig string

	// pods is how many were made, one for each endpoint.
	pods int
	// slices are those of the services, one each.
	slices []*discoveryv1.EndpointSlice
}

// startCluster starts an API server with our definitions. It must be stopped.
func startCluster(ctx context.Context, root string) (*cluster, error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return nil, errors.New(`KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver; ` +
			`export KUBEBUILDER_ASSETS="$(GOWORK=off go -C hack/envtest run .)"`)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "benchoperator-")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, kubeconfig: filepath.Join(dir, "kubeconfig"), env: &envtest.Environment{
		CRDDirectoryPaths: []string{filepath.Join(root, "config", "crd", "bases")}, ErrorIfCRDPathMissing: true, Scheme: scheme,
	}}
	if err := c.start(ctx, root); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *cluster) start(ctx context.Context, root string) error {
	config, err := c.env.Start()
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 100_000, 100_000
	if c.admin, err = client.New(config, client.Options{Scheme: c.env.Scheme}); err != nil {
		return err
	}
	binary := rest.CopyConfig(config)
	binary.ContentType = runtime.ContentTypeProtobuf
	if c.kube, err = kubernetes.NewForConfig(binary); err != nil {
		return err
	}
	user, err := c.env.AddUser(envtest.User{Name: operatorUser}, nil)
	if err != nil {
		return err
	}
	text, err := user.KubeConfig()
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.kubeconfig, text, 0o600); err != nil {
		return err
	}
	return c.grant(ctx, root)
}

// grant gives the operator the rights of config/rbac.
func (c *cluster) grant(ctx context.Context, root string) error {
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fairlead-system"}}
	if err := c.admin.Create(ctx, system); err != nil {
		return err
	}
	for _, file := range []string{"role.yaml", "role_binding.yaml"} {
		text, err := os.ReadFile(filepath.Join(root, "config", "rbac", file))
		if err != nil {
			return err
		}
		for _, document := range splitDocuments(text) {
			o := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(document, &o.Object); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			if len(o.Object) == 0 {
				continue
			}
			if _, binds := o.Object["subjects"]; binds {
				o.Object["subjects"] = []any{map[string]any{"apiGroup": rbacv1.GroupName, "kind": "User", "name": operatorUser}}
			}
			if err := c.admin.Create(ctx, o); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

// stop ends the API server and removes what was written.
func (c *cluster) stop() error { return errors.Join(c.env.Stop(), os.RemoveAll(c.dir)) }
