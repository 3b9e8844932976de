// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestE2E installs the product and runs the scenarios. Each needs the operator
// and nothing of the others. After one that failed, everything is installed anew
// in an empty namespace.
func TestE2E(t *testing.T) {
	c := newCluster(t)
	c.load()
	c.reset()
	for _, scenario := range []struct {
		name string
		run  func(*cluster)
	}{
		{"install", (*cluster).install},
		{"spread", (*cluster).samples},
		{"updates", (*cluster).updates},
		{"losses", (*cluster).losses},
		{"tokens", (*cluster).tokens},
		{"policies", (*cluster).policies},
		{"sources", (*cluster).sources},
		{"operator", (*cluster).operatorAway},
		{"upgrade", (*cluster).upgrades},
	} {
		switch {
		case c.scenario(t, scenario.name, scenario.run):
		case scenario.name == "install":
			t.FailNow()
		default:
			c.reset()
			if !c.scenario(t, "install", (*cluster).install) {
				t.FailNow()
			}
		}
	}
}

// scenario runs one, and says in one line how it ended.
func (c *cluster) scenario(t *testing.T, name string, run func(*cluster)) bool {
	began := time.Now()
	var ran bool // else -test.run leaves it out
	var first string
	ok := t.Run(name, func(t *testing.T) {
		ran = true
		d := c.in(t)
		d.said = &first
		defer func() { // a cleanup would come after the end of the test's context
			if t.Failed() {
				d.diagnose()
			}
		}()
		run(d)
	})
	switch {
	case !ok:
		c.figures("%s: FAILED, %.0f s: %s", name, time.Since(began).Seconds(), first)
	case ran:
		c.figures("%s: ok, %.0f s", name, time.Since(began).Seconds())
	}
	return ok
}

// load hands the images to the nodes.
func (c *cluster) load() {
	c.Helper()
	if os.Getenv("E2E_LOAD_IMAGE") == "" {
		return
	}
	c.run("", "sh", "-c", `exec $E2E_LOAD_IMAGE "$@"`, "sh", filepath.Join(c.bin, "operator.tar"), filepath.Join(c.bin, "earlier/operator.tar"), filepath.Join(c.bin, "workload.tar"))
}

// reset makes the scenarios' namespace, empty.
func (c *cluster) reset() {
	c.Helper()
	spaces := c.kube.CoreV1().Namespaces()
	if err := spaces.Delete(c.Context(), space, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		c.Fatal(err)
	}
	c.eventually(patience, "the end of namespace "+space, func() error {
		_, err := spaces.Create(c.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: space}}, metav1.CreateOptions{})
		return err
	})
	c.apply(c.manifest("ledger.yaml"))
	c.eventually(patience, "the ledger", func() error {
		_, err := c.ask(space, "ledger", "/ran")
		return err
	})
}

// install installs both charts, as docs/operations.md says.
func (c *cluster) install() {
	c.helm("upgrade", "--install", "fairlead-crds", filepath.Join(c.root, "charts/fairlead-crds"), "--namespace", operatorSpace, "--create-namespace")
	c.helm("upgrade", "--install", "fairlead", filepath.Join(c.root, "charts/fairlead"), "--namespace", operatorSpace,
		"--set", "image.repository="+operatorImage+",image.tag=e2e",
		// The tag is always the same; what it stands for may be new.
		"--set-string", "manager.podAnnotations.e2e="+strconv.FormatInt(time.Now().Unix(), 10), "--wait", "--timeout", "3m")
	c.rolledOut(operatorSpace, "fairlead-manager")
	pods := c.pods(operatorSpace, "app.kubernetes.io/component=manager")
	if len(pods) != 2 {
		c.Errorf("%d replicas, want 2", len(pods))
	}
	c.helm("test", "fairlead", "--namespace", operatorSpace, "--timeout", "2m")
}

// samples applies config/samples, serves them with three replicas, and looks how
// the calls of one caller are spread.
func (c *cluster) samples() {
	files, err := filepath.Glob(filepath.Join(c.root, "config/samples/*.yaml"))
	if err != nil || len(files) == 0 {
		c.Fatal("no samples:", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			c.Fatal(err)
		}
		c.apply(string(text))
	}
	c.serve("arith", "arith", 8972, 3)
	k := c.call("arith", 100)
	k.sees(3)
	d := k.made(k.report(), 2000)
	spread := d.spread()
	c.figures("spread: %d calls, %d failed, over %d pods, max/mean %.3f, slowest %d ms", d.Begun, d.Failed, len(d.Pods), spread, d.Slowest)
	if len(d.Pods) != 3 || spread > 1.2 {
		c.Errorf("calls are spread %v, max/mean %.3f, want 3 pods and at most 1.2", d.Pods, spread)
	}
	if d.Failed > 0 {
		c.Errorf("%d calls failed: %s", d.Failed, d.errors())
	}
	k.stop()
	c.scale(space, "arith", 0)
	c.rolledOut(space, "arith")
}

// serve starts servers, and waits until they are ready.
func (c *cluster) serve(name, group string, port, replicas int) {
	c.Helper()
	c.apply(c.injected("servers.yaml", "NAME", name, "GROUP", group, "PORT", strconv.Itoa(port), "REPLICAS", strconv.Itoa(replicas)))
	c.rolledOut(space, name)
}

// work starts the service of most scenarios, and its caller.
func (c *cluster) work() *caller {
	c.Helper()
	c.apply(c.manifest("work.yaml"))
	c.serve("work", "work", 8972, 3)
	return c.call("work", rate)
}

// updates replaces all Pods of a service, many times, under load. There is no
// preStop hook.
func (c *cluster) updates() {
	n := 10
	if given, err := strconv.Atoi(os.Getenv("E2E_UPDATES")); err == nil {
		n = given
	}
	k := c.work()
	all := k.report()
	for i := range n {
		began := time.Now()
		before := k.report()
		c.restart(space, "work", i)
		c.rolledOut(space, "work")
		took := time.Since(began)
		d := k.made(before, 5000)
		c.figures("update %d: %.1f s, %d calls, %d failed, %d unknown, %d missed, over %d pods, slowest %d ms",
			i+1, took.Seconds(), d.Begun, d.Failed, d.Unknown, d.Missed, len(d.Pods), d.Slowest)
		if d.Failed > 0 {
			c.Errorf("update %d: %d calls failed: %s", i+1, d.Failed, d.errors())
		}
		if d.Missed > 0 {
			c.Errorf("update %d: the caller was too late for %d calls", i+1, d.Missed)
		}
	}
	d := k.report().since(all)
	duplicates := k.audit()
	c.figures("updates: %d of them, %d calls, %d failed, %d duplicates", n, d.Begun, d.Failed, duplicates)
	if duplicates > 0 {
		c.Errorf("%d calls ran more than once", duplicates)
	}
}

// diagnose prints what helps to understand a failure.
func (c *cluster) diagnose() {
	for _, namespace := range []string{operatorSpace, space} {
		for _, pod := range c.pods(namespace, "") {
			fmt.Printf("--- %s/%s: %s\n", namespace, pod.Name, pod.Status.Phase)
			for _, s := range pod.Status.ContainerStatuses {
				fmt.Printf("%s: ready %v, %d restarts, %s\n", s.Name, s.Ready, s.RestartCount, strings.TrimSpace(s.State.String()))
			}
			lines := int64(5)
			logs, err := c.kube.CoreV1().Pods(namespace).GetLogs(pod.Name, &corev1.PodLogOptions{TailLines: &lines}).DoRaw(c.Context())
			fmt.Println(string(logs), err)
		}
	}
}
