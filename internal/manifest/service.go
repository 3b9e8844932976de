// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	unversioned "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// checkService fills in what the server would, of the fields that matter here, and checks type, ports, selector, cluster
// addresses and IP families. It leaves to the server: nodePort ranges that are free, load balancers, traffic policies,
// session affinity and external addresses.
func checkService(o metav1.Object) (remarks []remark) {
	service, ok := o.(*corev1.Service)
	if !ok {
		return []remark{{message: fmt.Sprintf("is a %T, not a Service", o)}}
	}
	spec := &service.Spec
	setDefault(&spec.Type, corev1.ServiceTypeClusterIP)
	types := []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName}
	remarks = append(remarks, checkChoice("spec.type", spec.Type, types)...)
	remarks = append(remarks, checkClusterIPs(spec)...)
	for _, err := range unversioned.ValidateLabels(spec.Selector, field.NewPath("spec", "selector")) {
		remarks = append(remarks, remark{path: err.Field, message: err.ErrorBody()})
	}
	if spec.Type == corev1.ServiceTypeExternalName {
		if len(validation.IsDNS1123Subdomain(trimDot(spec.ExternalName))) > 0 {
			message := missing + " when type is ExternalName"
			if spec.ExternalName != "" {
				message = notA(spec.ExternalName, subdomainWords)
			}
			remarks = append(remarks, remark{path: "spec.externalName", message: message})
		}
	} else if len(spec.Ports) == 0 && spec.ClusterIP != corev1.ClusterIPNone {
		remarks = append(remarks, remark{path: "spec.ports", message: missing + " unless clusterIP is None"})
	}
	return append(remarks, checkServicePorts(spec)...)
}

func checkServicePorts(spec *corev1.ServiceSpec) (remarks []remark) {
	names := make(map[string]bool)
	numbers := make(map[string]bool)
	for i := range spec.Ports {
		port := &spec.Ports[i]
		path := fmt.Sprintf("spec.ports[%d]", i)
		setDefault(&port.Protocol, corev1.ProtocolTCP)
		if port.TargetPort == intstr.FromInt32(0) || port.TargetPort == intstr.FromString("") {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
		if port.Name == "" && len(spec.Ports) > 1 {
			remarks = append(remarks, remark{path: path + ".name", message: missing + " when there is more than one port"})
		}
		remarks = append(remarks, checkPortName(path+".name", port.Name, names)...)
		remarks = append(remarks, checkPortNumber(path+".port", port.Port)...)
		remarks = append(remarks, checkProtocol(path+".protocol", port.Protocol)...)
		remarks = append(remarks, checkAppProtocol(path+".appProtocol", port.AppProtocol)...)
		remarks = append(remarks, checkTargetPort(path+".targetPort", port.TargetPort)...)
		if port.NodePort != 0 && spec.Type == corev1.ServiceTypeClusterIP {
			remarks = append(remarks, remark{path: path + ".nodePort", message: "may not be set when type is ClusterIP"})
		}
		number := fmt.Sprintf("%d/%s", port.Port, port.Protocol)
		if numbers[number] {
			remarks = append(remarks, remark{path: path, message: number + " stands twice in this list"})
		}
		numbers[number] = true
	}
	return remarks
}

func checkTargetPort(path string, port intstr.IntOrString) []remark {
	if port.Type == intstr.Int {
		return checkPortNumber(path, port.IntVal)
	}
	if len(validation.IsValidPortName(port.StrVal)) > 0 {
		return []remark{{path: path, message: notA(port.StrVal, "the name of a port: up to 15 lower-case letters, digits and -, at least one of them a letter")}}
	}
	return nil
}

func checkClusterIPs(spec *corev1.ServiceSpec) (remarks []remark) {
	addresses := spec.ClusterIPs
	path := func(i int) string { return fmt.Sprintf("spec.clusterIPs[%d]", i) }
	if len(addresses) == 0 && spec.ClusterIP != "" {
		addresses, path = []string{spec.ClusterIP}, func(int) string { return "spec.clusterIP" }
	}
	if len(addresses) > 2 {
		remarks = append(remarks, remark{path: "spec.clusterIPs", message: fmt.Sprintf("has %d entries; at most 2 are allowed", len(addresses))})
	}
	for i, address := range addresses {
		_, err := netip.ParseAddr(address)
		if err != nil && (address != corev1.ClusterIPNone || len(addresses) > 1) {
			remarks = append(remarks, remark{path: path(i), message: notA(address, "an IP address, nor None alone")})
		}
		if address == corev1.ClusterIPNone && (spec.Type == corev1.ServiceTypeNodePort || spec.Type == corev1.ServiceTypeLoadBalancer) {
			remarks = append(remarks, remark{path: path(i), message: fmt.Sprintf("may not be None when type is %s", spec.Type)})
		}
	}
	if spec.ClusterIP == "" && len(addresses) > 0 {
		remarks = append(remarks, remark{path: "spec.clusterIP", message: missing + " when clusterIPs is set"})
	} else if len(addresses) > 0 && spec.ClusterIP != addresses[0] {
		remarks = append(remarks, remark{path: "spec.clusterIP", message: fmt.Sprintf("%q is not the first of clusterIPs", spec.ClusterIP)})
	}
	for i, family := range spec.IPFamilies {
		families := []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
		remarks = append(remarks, checkChoice(fmt.Sprintf("spec.ipFamilies[%d]", i), family, families)...)
		if slices.Contains(spec.IPFamilies[:i], family) {
			remarks = append(remarks, remark{path: fmt.Sprintf("spec.ipFamilies[%d]", i), message: explainDuplicate(string(family))})
		}
	}
	return remarks
}

func trimDot(name string) string {
	if name != "" && name[len(name)-1] == '.' {
		return name[:len(name)-1]
	}
	return name
}
