// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The server's bounds.
const (
	maxSliceEndpoints    = 1000
	maxEndpointAddresses = 100
	maxSlicePorts        = 20000
)

// checkEndpointSlice fills in what the server would and checks address type, addresses, ports, node names and host
// names. A port of 0 is refused, which the server lets pass. An address of the loopback is only warned of: the server
// refuses it, but on one machine it is how processes without a cluster are written down. It leaves hints and the
// deprecated topology to the server.
func checkEndpointSlice(o metav1.Object) (remarks []remark) {
	slice, ok := o.(*discoveryv1.EndpointSlice)
	if !ok {
		return []remark{{message: fmt.Sprintf("is a %T, not an EndpointSlice", o)}}
	}
	types := []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN}
	remarks = append(remarks, checkChoice("addressType", slice.AddressType, types)...)
	if slice.Labels[discoveryv1.LabelServiceName] == "" {
		message := "there is no label " + discoveryv1.LabelServiceName + ", so that these endpoints belong to no Service"
		remarks = append(remarks, remark{path: "metadata.labels", message: message, severity: Warning})
	}
	if len(slice.Ports) > maxSlicePorts {
		remarks = append(remarks, tooMany("ports", len(slice.Ports), maxSlicePorts))
	}
	names := make(map[string]bool)
	for i := range slice.Ports {
		remarks = append(remarks, checkSlicePort(fmt.Sprintf("ports[%d]", i), &slice.Ports[i], names)...)
	}
	if len(slice.Endpoints) > maxSliceEndpoints {
		return append(remarks, tooMany("endpoints", len(slice.Endpoints), maxSliceEndpoints))
	}
	for i := range slice.Endpoints {
		remarks = append(remarks, checkEndpoint(fmt.Sprintf("endpoints[%d]", i), &slice.Endpoints[i], slice.AddressType)...)
	}
	return remarks
}

func tooMany(path string, count, most int) remark {
	return remark{path: path, message: fmt.Sprintf("has %d entries; at most %d are allowed", count, most)}
}

func checkSlicePort(path string, port *discoveryv1.EndpointPort, names map[string]bool) (remarks []remark) {
	if port.Name == nil {
		port.Name = new(string)
	}
	if port.Protocol == nil {
		tcp := corev1.ProtocolTCP
		port.Protocol = &tcp
	}
	remarks = append(remarks, checkPortName(path+".name", *port.Name, names)...)
	remarks = append(remarks, checkProtocol(path+".protocol", *port.Protocol)...)
	remarks = append(remarks, checkAppProtocol(path+".appProtocol", port.AppProtocol)...)
	if port.Port != nil {
		remarks = append(remarks, checkPortNumber(path+".port", *port.Port)...)
	}
	return remarks
}

func checkEndpoint(path string, endpoint *discoveryv1.Endpoint, kind discoveryv1.AddressType) (remarks []remark) {
	if len(endpoint.Addresses) == 0 {
		remarks = append(remarks, remark{path: path + ".addresses", message: missing + ": at least one address"})
	}
	if len(endpoint.Addresses) > maxEndpointAddresses {
		remarks = append(remarks, tooMany(path+".addresses", len(endpoint.Addresses), maxEndpointAddresses))
	}
	for i, address := range endpoint.Addresses {
		at := fmt.Sprintf("%s.addresses[%d]", path, i)
		if message, severity := checkAddress(address, kind); message != "" {
			remarks = append(remarks, remark{path: at, message: message, severity: severity})
		}
	}
	if name := endpoint.NodeName; name != nil && len(validation.IsDNS1123Subdomain(*name)) > 0 {
		remarks = append(remarks, remark{path: path + ".nodeName", message: notA(*name, subdomainWords)})
	}
	if name := endpoint.Hostname; name != nil && len(validation.IsDNS1123Label(*name)) > 0 {
		remarks = append(remarks, remark{path: path + ".hostname", message: notA(*name, labelWords)})
	}
	return remarks
}

func checkAddress(address string, kind discoveryv1.AddressType) (message string, severity Severity) {
	switch kind {
	case discoveryv1.AddressTypeFQDN:
		if len(validation.IsFullyQualifiedDomainName(field.NewPath("address"), address)) > 0 {
			return notA(address, "a full domain name such as arith.example.com"), Error
		}
		return "", Error
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
	default:
		return "", Error // the address type is wrong, which was said
	}
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Zone() != "" || ip.Is4() != (kind == discoveryv1.AddressTypeIPv4) || ip.Is4In6() {
		return notA(address, "an "+string(kind)+" address"), Error
	}
	switch {
	case ip.IsUnspecified():
		return show(address) + " is the unspecified address, which nobody can connect to", Error
	case ip.IsLinkLocalUnicast(), ip.IsLinkLocalMulticast():
		return show(address) + " is a link-local address, which other hosts cannot connect to", Error
	case ip.IsLoopback():
		return show(address) + " is a loopback address: good for fairlead serve on this machine, refused by the API server", Warning
	}
	return "", Error
}
