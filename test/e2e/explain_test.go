// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	ctrl "sigs.k8s.io/controller-runtime"
)

// explanation is what is read of fairlead explain -o json.
type explanation struct {
	Digest  string
	Callers *struct {
		Have, Total, Replicas, More int
		Missing                     []struct{ Replica, Why string }
		Without                     []struct{ Pod, Digest string }
		Otherwise                   []string
	}
	NotAsked string
	Fields   []struct{ Field, Value string }
}

// explained asks fairlead explain, as users do, which of this caller's clients go
// by the policy, and who asks without rights is told so. Everybody is to have the
// policy before long.
func (k *caller) explained() {
	k.Helper()
	clients := 0
	for _, n := range k.report().Digests {
		clients += n
	}
	var took time.Duration
	k.eventually(patience, "all callers have the policy", func() error {
		began := time.Now()
		e, err := k.explain("")
		took = time.Since(began)
		switch {
		case err != nil:
			return err
		case e.Callers == nil:
			return fmt.Errorf("no replica was asked: %s", e.NotAsked)
		case e.Callers.Replicas != 2 || len(e.Callers.Missing) > 0 || len(e.Callers.Otherwise) > 0:
			return fmt.Errorf("asked %d replicas: %+v", e.Callers.Replicas, e.Callers)
		case e.Callers.Total != clients || e.Callers.Have != clients:
			return fmt.Errorf("%d of %d have it, want %d: %+v", e.Callers.Have, e.Callers.Total, clients, e.Callers)
		}
		return nil
	})
	k.figures("explain: %d of %d callers have the policy, by both replicas, asked in %d ms", clients, clients, took.Milliseconds())

	file := k.viewer("explainer")
	k.eventually(patience, "a viewer's answer", func() error {
		e, err := k.explain(file)
		if err == nil && (len(e.Fields) == 0 || e.Callers != nil || !strings.Contains(e.NotAsked, "may not list pods in namespace "+operatorSpace)) {
			err = fmt.Errorf("%+v", e)
		}
		return err
	})
	k.bind(operatorSpace, "explainer", rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "fairlead-explain"})
	defer k.unbind(operatorSpace, "explainer")
	k.eventually(patience, "the answer to somebody with the role fairlead-explain", func() error {
		e, err := k.explain(file)
		if err == nil && (e.Callers == nil || e.Callers.Total != clients) {
			err = fmt.Errorf("%+v", e)
		}
		return err
	})
	k.figures("explain: without rights it says so, and with the role fairlead-explain it counts")
}

// explain runs the program, with a kubeconfig or the one of the tests.
func (k *caller) explain(kubeconfig string) (*explanation, error) {
	service, _, _ := strings.Cut(k.pod, "-caller")
	args := []string{"explain", "--caller", space + "/" + service + "-caller", space + "/" + service, "Arith.Mul", "-o", "json"}
	if kubeconfig != "" {
		args = append(args, "--kubeconfig", kubeconfig)
	}
	text, err := k.try("", filepath.Join(k.bin, "fairlead"), args...)
	if err != nil {
		return nil, err
	}
	e := &explanation{}
	if err := json.Unmarshal([]byte(text), e); err != nil {
		return nil, fmt.Errorf("%w in %s", err, text)
	}
	return e, nil
}

// viewer makes an account with the built-in role view in the scenarios' namespace,
// and gives its kubeconfig.
func (c *cluster) viewer(name string) (file string) {
	c.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	accounts := c.kube.CoreV1().ServiceAccounts(space)
	if _, err := accounts.Create(c.Context(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		c.Fatal(err)
	}
	c.bind(space, name, rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"})
	token, err := accounts.CreateToken(c.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		c.Fatal(err)
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		c.Fatal(err)
	}
	known := clientcmdapi.NewConfig()
	known.Clusters["c"] = &clientcmdapi.Cluster{
		Server: config.Host, CertificateAuthority: config.CAFile, CertificateAuthorityData: config.CAData, InsecureSkipTLSVerify: config.Insecure,
	}
	known.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	known.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u", Namespace: space}
	known.CurrentContext = "x"
	file = filepath.Join(c.TempDir(), name)
	if err := clientcmd.WriteToFile(*known, file); err != nil {
		c.Fatal(err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		c.Fatal(err)
	}
	return file
}

// bind gives an account of the scenarios' namespace a role in a namespace.
func (c *cluster) bind(namespace, account string, role rbacv1.RoleRef) {
	c.Helper()
	_, err := c.kube.RbacV1().RoleBindings(namespace).Create(c.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account}, RoleRef: role,
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: space, Name: account}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		c.Fatal(err)
	}
}

func (c *cluster) unbind(namespace, name string) {
	c.Helper()
	if err := c.kube.RbacV1().RoleBindings(namespace).Delete(c.Context(), name, metav1.DeleteOptions{}); err != nil {
		c.Error(err)
	}
}
