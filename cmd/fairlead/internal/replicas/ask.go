// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package replicas

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/internal/publish"
)

// What one question may take.
const (
	// maxReplicas bounds how many replicas are asked; whoever may label Pods could
	// make any number of them look like one.
	maxReplicas = 64
	// maxAnswer is in bytes.
	maxAnswer = 32 << 20
	// defaultTimeout is how long one replica may take.
	defaultTimeout = 4 * time.Second
)

// portName is what the operator's Pods call the admin port.
const portName = "admin"

// The resources, as they stand in RBAC rules.
const (
	resourcePods    = "pods"
	resourceForward = "pods/portforward"
)

// labels are those of the operator's Pods, from the chart as from kustomize.
var labels = client.MatchingLabels{"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "manager"}

// ErrNoReplica says that there is nobody to ask.
var ErrNoReplica = errors.New("no replica of the operator is there")

// ForbiddenError is a right that whoever asks does not have.
type ForbiddenError struct{ Verb, Resource, Namespace string }

func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("you may not %s %s in namespace %s", e.Verb, e.Resource, e.Namespace)
}

// Dialer connects to a port of a Pod, on the Pod's own loopback. Forwarder is
// one.
type Dialer interface {
	Dial(ctx context.Context, namespace, pod string, port int32) (io.ReadWriteCloser, error)
}

// Asker asks the replicas.
type Asker struct {
	// Pods lists Pods.
	Pods   client.Reader
	Dialer Dialer
	// Namespace is the operator's.
	Namespace string
	// Timeout bounds the time that one replica gets; 0 means 4 s.
	Timeout time.Duration
}

// Answer is what replicas said.
type Answer struct {
	// Held has one entry for each replica that answered, in the order of Pods'
	// names.
	Held []publish.Held
	// Failed are the others, in the same order.
	Failed []Failure
}

// Failure is a replica that did not answer.
type Failure struct {
	Pod string
	// Why is a sentence without an end.
	Why string
}

// Ask asks all replicas. It fails only if none could be asked.
func (a *Asker) Ask(ctx context.Context, q publish.HeldQuery) (*Answer, error) {
	var pods corev1.PodList
	err := a.Pods.List(ctx, &pods, client.InNamespace(a.Namespace), labels)
	switch {
	case apierrors.IsForbidden(err):
		return nil, &ForbiddenError{"list", resourcePods, a.Namespace}
	case err != nil:
		return nil, fmt.Errorf("listing the operator's Pods: %w", err)
	}
	running := slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning })
	if len(running) == 0 {
		return nil, fmt.Errorf("%w: namespace %s has no Pod that runs and is labelled as such", ErrNoReplica, a.Namespace)
	}
	slices.SortFunc(running, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return a.askAll(ctx, running, q)
}

// askAll asks all at the same time.
func (a *Asker) askAll(ctx context.Context, pods []corev1.Pod, q publish.HeldQuery) (*Answer, error) {
	held, errs := make([]*publish.Held, len(pods)), make([]error, len(pods))
	var asking sync.WaitGroup
	for i := range pods {
		if i >= maxReplicas {
			errs[i] = fmt.Errorf("was not asked: there are more than %d", maxReplicas)
			continue
		}
		asking.Go(func() { held[i], errs[i] = a.ask(ctx, &pods[i], q) })
	}
	asking.Wait()
	answer := &Answer{}
	forbidden := 0
	for i := range pods {
		var missing *ForbiddenError
		switch {
		case errs[i] == nil:
			answer.Held = append(answer.Held, *held[i])
			continue
		case errors.As(errs[i], &missing):
			forbidden++
		}
		answer.Failed = append(answer.Failed, Failure{pods[i].Name, errs[i].Error()})
	}
	if forbidden > 0 && len(answer.Held) == 0 {
		return nil, &ForbiddenError{"create", resourceForward, a.Namespace}
	}
	return answer, nil
}

// ask asks one replica.
func (a *Asker) ask(ctx context.Context, pod *corev1.Pod, q publish.HeldQuery) (*publish.Held, error) {
	if pod.DeletionTimestamp != nil {
		return nil, errors.New("is ending: its clients go elsewhere")
	}
	if !ready(pod) {
		return nil, errors.New("is not ready")
	}
	port := adminPort(pod)
	if port == 0 {
		return nil, fmt.Errorf("has no port named %s: it is an older one, or has the admin port turned off", portName)
	}
	within, cancel := context.WithTimeout(ctx, cmp.Or(a.Timeout, defaultTimeout))
	defer cancel()
	held, err := a.exchange(within, pod, port, q)
	if err != nil && within.Err() != nil {
		return nil, errors.New("did not answer in time")
	}
	return held, err
}

func ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// adminPort gives the number of the admin port; 0 without one.
func adminPort(pod *corev1.Pod) int32 {
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.Name == portName {
				return p.ContainerPort
			}
		}
	}
	return 0
}

// exchange sends one request and reads the answer.
func (a *Asker) exchange(ctx context.Context, pod *corev1.Pod, port int32, q publish.HeldQuery) (*publish.Held, error) {
	conn, err := a.Dialer.Dial(ctx, pod.Namespace, pod.Name, port)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// Closing ends reads and writes, which take no context.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	target := url.URL{Scheme: "http", Host: "localhost", Path: "/clients", RawQuery: values(q).Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Connection", "close")
	if err := request.Write(conn); err != nil {
		return nil, fmt.Errorf("cannot be asked: %w", err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		return nil, fmt.Errorf("gives no answer: %w", err)
	}
	defer response.Body.Close()
	return read(response)
}

func values(q publish.HeldQuery) url.Values {
	v := url.Values{}
	for _, s := range q.Services {
		v.Add("service", s)
	}
	if q.Namespace != "" {
		v.Set("namespace", q.Namespace)
	}
	return v
}

func read(response *http.Response) (*publish.Held, error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("breaks off in the middle of its answer: %w", err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("answers with more than %d bytes", maxAnswer)
	case response.StatusCode != http.StatusOK:
		var refused struct{ Error string }
		_ = json.Unmarshal(body, &refused) // whatever is there
		return nil, fmt.Errorf("answers %s: %.200s", response.Status, refused.Error)
	}
	held := &publish.Held{}
	if err := json.Unmarshal(body, held); err != nil {
		return nil, fmt.Errorf("answers what is not understood: %w", err)
	}
	return held, nil
}
