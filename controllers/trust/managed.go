// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/fairlead/fairlead/controllers/observe"
)

// +kubebuilder:rbac:groups="",namespace=fairlead-system,resources=secrets,resourceNames=fairlead-registry-ca,verbs=list;watch;create;patch

// Config sets up a Managed.
type Config struct {
	// Client reaches the API server.
	Client corev1client.CoreV1Interface
	// Namespace and Secret say where the authority is kept.
	Namespace, Secret string
	// Manager names this replica to the API server, as who writes fields.
	Manager string
	// Hosts are what certificates are for.
	Hosts []string
	// May says whether this replica is the one that decides.
	May func() bool
	// Lack counts the clients that are known not to hold a bundle yet; nil knows of
	// none.
	Lack func(bundle []byte) int
	// Changed is called when bundle or certificate are others than before. It must
	// not block.
	Changed func()
	// Metrics is where counters are registered.
	Metrics prometheus.Registerer
	// Log gets what happens. The zero Logger discards.
	Log logr.Logger
	// Lifetime is that of an authority, Leaf that of a replica's certificate, and
	// Settle how long a new authority is believed before it signs; 0 means a year,
	// a day and an hour.
	Lifetime, Leaf, Settle time.Duration
	// Every is how often it is looked whether something is due; 0 means 10 s, or
	// what shorter times need.
	Every time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (c *Config) setDefaults() {
	orDefault := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	orDefault(&c.Lifetime, 365*24*time.Hour)
	orDefault(&c.Leaf, 24*time.Hour)
	orDefault(&c.Settle, time.Hour)
	orDefault(&c.Every, max(min(10*time.Second, c.Leaf/10, c.Settle/4), 10*time.Millisecond))
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Lack == nil {
		c.Lack = func([]byte) int { return 0 }
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
}

// Managed has an authority of its own, in a Secret.
type Managed struct {
	cfg     Config
	metrics *metrics
	shown   *Shown

	// wake has room for one: the Secret was heard of.
	wake chan struct{}

	mu sync.Mutex // guards what the watch tells
	// heard: the Secret was listed. secret is as last seen; nil if there is none.
	heard  bool
	secret *corev1.Secret

	// The rest belongs to Start's goroutine.

	material *Material
	signed   *Authority // signed our certificate
	signedAt time.Time
	// written is the revision of our last write: nothing is decided before the
	// watch has brought it.
	written string
	// adopted is the revision of the Secret that material was read from, broken that
	// of one that cannot be read, which was said.
	adopted, broken string
}

// NewManaged makes a Managed. It touches no network.
func NewManaged(cfg Config) (*Managed, error) {
	cfg.setDefaults()
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	return &Managed{cfg: cfg, metrics: m, shown: newShown(), wake: make(chan struct{}, 1)}, nil
}

// Shown gives what is shown to clients.
func (m *Managed) Shown() *Shown { return m.shown }

// Start watches the Secret, decides and signs, until ctx ends.
func (m *Managed) Start(ctx context.Context) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		observe.Run(ctx, observe.Options[*corev1.Secret]{
			Client: m.cfg.Client.RESTClient(), Resource: "secrets", Example: &corev1.Secret{},
			Namespace: m.cfg.Namespace, Name: m.cfg.Secret, Log: m.cfg.Log,
		}, (*keeper)(m))
	})
	m.run(ctx)
	return nil
}

// run decides and signs until ctx ends.
func (m *Managed) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-m.wake:
		}
		m.step(ctx)
		timer.Reset(m.pause())
	}
}

// impatient is how often it is looked while there is no authority at all: on the
// first install the Secret is heard of before somebody may decide, and nobody is
// ready until it is there.
const impatient = 500 * time.Millisecond

// pause is how long nothing is looked at by itself.
func (m *Managed) pause() time.Duration {
	if m.material == nil {
		return min(impatient, m.cfg.Every)
	}
	return m.cfg.Every
}

// keeper takes what the watch tells.
type keeper Managed

// Replace takes the only one there may be.
func (k *keeper) Replace(all []*corev1.Secret) {
	var secret *corev1.Secret
	for _, s := range all {
		if s.Name == k.cfg.Secret {
			secret = s
		}
	}
	k.take(secret)
}

// Set takes a new state.
func (k *keeper) Set(s *corev1.Secret) { k.take(s) }

// Delete notes that there is none.
func (k *keeper) Delete(*corev1.Secret) { k.take(nil) }

func (k *keeper) take(s *corev1.Secret) {
	k.mu.Lock()
	k.heard, k.secret = true, s
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// step does what is due.
func (m *Managed) step(ctx context.Context) {
	m.mu.Lock()
	heard, secret := m.heard, m.secret
	m.mu.Unlock()
	if secret != nil {
		m.adopt(secret)
	}
	if heard && m.cfg.May() {
		m.decide(ctx, secret)
	}
	m.sign()
}

// adopt takes up what a Secret holds.
func (m *Managed) adopt(secret *corev1.Secret) {
	version := secret.ResourceVersion
	if version == m.broken || version == m.adopted || older(version, m.written) {
		return
	}
	material, err := read(secret)
	if err != nil {
		m.broken = secret.ResourceVersion
		m.metrics.failures.Inc()
		m.cfg.Log.Error(err, "the Secret with the registry's authority cannot be read: what is held stays in use; "+
			"mend it, or delete it to have it written anew", "namespace", secret.Namespace, "secret", secret.Name)
		return
	}
	m.broken, m.adopted, m.material = "", version, material
}

// decide moves the material on, if it is time, and writes it.
func (m *Managed) decide(ctx context.Context, secret *corev1.Secret) {
	c := circumstances{now: m.cfg.Now().Truncate(time.Second)}
	version := ""
	if secret != nil {
		version = secret.ResourceVersion
		if version == m.broken {
			return // somebody meant to change it; nothing is put in its place
		}
		c.asked = secret.Annotations[AnnotationRotate]
	}
	if secret != nil && older(version, m.written) {
		return // the watch has not brought our own write yet
	}
	if m.material != nil {
		if secret == nil {
			c.asked = m.material.Answered // the request went with the Secret
		}
		if m.material.Next != nil {
			c.lack = m.cfg.Lack(m.material.Bundle())
		}
	}
	next, done, err := decide(m.material, c, pace{m.cfg.Lifetime, m.cfg.Leaf, m.cfg.Settle}, func() (*Authority, error) {
		return newAuthority(c.now, m.cfg.Lifetime)
	})
	if err == nil && (done != stepNone || secret == nil) {
		err = m.write(ctx, next, version)
	}
	switch {
	case apierrors.IsConflict(err):
		m.cfg.Log.V(1).Info("the Secret with the registry's authority was written by another replica meanwhile")
	case err != nil:
		m.metrics.failures.Inc()
		m.cfg.Log.Error(err, "the Secret with the registry's authority is not written; tried again soon", "secret", m.cfg.Secret)
	case done != stepNone:
		m.metrics.steps.WithLabelValues(string(done)).Inc()
		m.cfg.Log.Info("the registry's authority", "step", string(done), "signs", next.Current.Cert.Subject.CommonName,
			"until", next.Current.Cert.NotAfter.UTC().Format(time.RFC3339))
	}
}

// older compares resourceVersions; what is no number is not older.
func older(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

// write replaces the Secret of a version; "" for one that is not there. Nobody
// else's is overwritten: one that is there by now has another's fields, which is a
// conflict.
func (m *Managed) write(ctx context.Context, material *Material, version string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	apply, err := material.lay(m.cfg.Namespace, m.cfg.Secret)
	if err != nil {
		return fmt.Errorf("lay out the authority: %w", err)
	}
	options := metav1.ApplyOptions{FieldManager: "fairlead-ca-" + m.cfg.Manager}
	if version != "" {
		apply.WithResourceVersion(version)
		options = metav1.ApplyOptions{FieldManager: "fairlead-ca", Force: true}
	}
	written, err := m.cfg.Client.Secrets(m.cfg.Namespace).Apply(ctx, apply, options)
	if err != nil {
		return err
	}
	m.material, m.written = material, written.ResourceVersion
	return nil
}

// sign renews our certificate, if it is time.
func (m *Managed) sign() {
	if m.material == nil {
		return
	}
	now := m.cfg.Now()
	bundle := m.material.Bundle()
	if m.signed.same(m.material.Current) && now.Sub(m.signedAt) < m.cfg.Leaf/3 {
		if m.shown.show(nil, bundle) {
			m.cfg.Changed()
		}
		return
	}
	leaf, err := m.material.Current.issue(now, m.cfg.Leaf, m.cfg.Hosts)
	if err != nil {
		m.metrics.failures.Inc()
		m.cfg.Log.Error(err, "the registry's certificate is not renewed; tried again soon")
		return
	}
	m.signed, m.signedAt = m.material.Current, now
	m.shown.show(leaf, bundle)
	m.metrics.authority.Set(float64(m.material.Current.Cert.NotAfter.Unix()))
	m.metrics.certificate.Set(float64(leaf.Leaf.NotAfter.Unix()))
	m.cfg.Log.V(1).Info("the registry has a new certificate", "until", leaf.Leaf.NotAfter.UTC().Format(time.RFC3339))
	m.cfg.Changed()
}
