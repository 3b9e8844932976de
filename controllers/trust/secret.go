// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
)

// What the Secret holds, and its annotations.
const (
	keyCert, keyKey         = "tls.crt", "tls.key"
	keyNextCert, keyNextKey = "next.crt", "next.key"
	keyPrevious             = "previous.crt"

	// AnnotationRotate asks for a rotation when its value is changed.
	AnnotationRotate = "rpc.fairlead.dev/rotate"

	annotationRotated  = "rpc.fairlead.dev/rotated"
	annotationSince    = "rpc.fairlead.dev/next-since"
	annotationSwitched = "rpc.fairlead.dev/switched-at"
)

// read reads the material of a Secret. Errors hold nothing of what is secret.
func read(s *corev1.Secret) (*Material, error) {
	current, err := parseAuthority(s.Data[keyCert], s.Data[keyKey])
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", keyCert, keyKey, err)
	}
	m := &Material{Current: current, Answered: s.Annotations[annotationRotated]}
	if len(s.Data[keyNextCert]) > 0 {
		if m.Next, err = parseAuthority(s.Data[keyNextCert], s.Data[keyNextKey]); err != nil {
			return nil, fmt.Errorf("%s and %s: %w", keyNextCert, keyNextKey, err)
		}
	}
	previous, err := parseCerts(s.Data[keyPrevious])
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", keyPrevious, err)
	case len(previous) > 1:
		return nil, fmt.Errorf("%s has %d certificates", keyPrevious, len(previous))
	case len(previous) == 1:
		m.Previous = previous[0]
	}
	var errs [2]error
	m.NextSince, errs[0] = readTime(s, annotationSince)
	m.SwitchedAt, errs[1] = readTime(s, annotationSwitched)
	return m, errors.Join(errs[:]...)
}

func readTime(s *corev1.Secret, annotation string) (time.Time, error) {
	text := s.Annotations[annotation]
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("annotation %s: %w", annotation, err)
	}
	return t, nil
}

// lay lays the material out as a Secret.
func (m *Material) lay(namespace, name string) (*applycorev1.SecretApplyConfiguration, error) {
	// What is not there is written as empty: left out, it would stay what another
	// replica wrote.
	data := map[string][]byte{keyCert: certPEM(m.Current.Cert), keyNextCert: {}, keyNextKey: {}, keyPrevious: {}}
	var err error
	if data[keyKey], err = m.Current.keyPEM(); err != nil {
		return nil, err
	}
	annotations := map[string]string{annotationSwitched: m.SwitchedAt.UTC().Format(time.RFC3339), annotationRotated: m.Answered, annotationSince: ""}
	if m.Next != nil {
		data[keyNextCert] = certPEM(m.Next.Cert)
		if data[keyNextKey], err = m.Next.keyPEM(); err != nil {
			return nil, err
		}
		annotations[annotationSince] = m.NextSince.UTC().Format(time.RFC3339)
	}
	if m.Previous != nil {
		data[keyPrevious] = certPEM(m.Previous)
	}
	return applycorev1.Secret(name, namespace).WithType(corev1.SecretTypeOpaque).WithData(data).
		WithLabels(map[string]string{"app.kubernetes.io/managed-by": "fairlead"}).WithAnnotations(annotations), nil
}

// equal says whether two are the same.
func (m *Material) equal(other *Material) bool {
	return m == other || m != nil && other != nil && m.Current.same(other.Current) && m.Next.same(other.Next) &&
		(m.Previous == other.Previous || m.Previous != nil && other.Previous != nil && m.Previous.Equal(other.Previous)) &&
		m.NextSince.Equal(other.NextSince) && m.SwitchedAt.Equal(other.SwitchedAt) && m.Answered == other.Answered
}
