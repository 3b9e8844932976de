// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

func setDefault[T comparable](at *T, value T) {
	var zero T
	if *at == zero {
		*at = value
	}
}

func checkChoice[T ~string](path string, value T, allowed []T) []remark {
	if slices.Contains(allowed, value) {
		return nil
	}
	names := make([]string, 0, len(allowed))
	for _, name := range allowed {
		names = append(names, string(name))
	}
	if value == "" {
		return []remark{{path: path, message: missing}}
	}
	return []remark{{path: path, message: noneOf(string(value), names)}}
}

func checkProtocol(path string, protocol corev1.Protocol) []remark {
	return checkChoice(path, protocol, []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP})
}

func checkPortNumber(path string, port int32) []remark {
	if len(validation.IsValidPortNum(int(port))) == 0 {
		return nil
	}
	return []remark{{path: path, message: fmt.Sprintf("%d is out of range: from 1 to 65535", port)}}
}

// checkPortName checks a port's name and that no earlier port of the object has it.
func checkPortName(path, name string, taken map[string]bool) (remarks []remark) {
	if name != "" && len(validation.IsDNS1123Label(name)) > 0 {
		remarks = append(remarks, remark{path: path, message: notA(name, labelWords)})
	}
	if taken[name] {
		remarks = append(remarks, remark{path: path, message: explainDuplicate(name)})
	}
	taken[name] = true
	return remarks
}

func checkAppProtocol(path string, protocol *string) (remarks []remark) {
	if protocol == nil {
		return nil
	}
	for _, message := range validation.IsQualifiedName(*protocol) {
		remarks = append(remarks, remark{path: path, message: show(*protocol) + ": " + message})
	}
	return remarks
}
