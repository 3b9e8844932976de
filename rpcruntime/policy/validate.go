// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ValidateServiceName checks namespace/name.
func ValidateServiceName(service string) error {
	namespace, name, found := strings.Cut(service, "/")
	if !found || !isName(namespace) || !isName(name) {
		return fmt.Errorf("service %.200q is not namespace/name", service)
	}
	return nil
}

// isName accepts what Kubernetes accepts as the name of an object: a DNS
// subdomain.
func isName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case (c == '-' || c == '.') && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return true
}

// ValidateMethodName checks Path.Method: a letter or underscore, then letters,
// digits and the characters _ . / -.
func ValidateMethodName(method string) error {
	if method == "" || len(method) > MaxMethodName {
		return fmt.Errorf("method %.80q has %d bytes, not 1 to %d", method, len(method), MaxMethodName)
	}
	for i := range len(method) {
		switch c := method[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '.' || c == '/' || c == '-'):
		default:
			return fmt.Errorf("method %q: character %q at %d is not allowed", method, c, i)
		}
	}
	return nil
}

// ValidateAddress checks host:port. The host is an IP address or a DNS name;
// an IPv6 address stands in brackets.
func ValidateAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %.200q is not host:port: %w", address, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %.200q: port %.20q is not between 1 and 65535", address, port)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.IsUnspecified() {
			return fmt.Errorf("address %q: %s is no address to connect to", address, ip)
		}
		return nil
	}
	if !isName(strings.ToLower(strings.TrimSuffix(host, "."))) {
		return fmt.Errorf("address %.200q: host %.80q is neither an IP address nor a DNS name", address, host)
	}
	return nil
}

// Validate checks an endpoint from outside of this process.
func (e *Endpoint) Validate() error {
	if e.ID == "" {
		return errors.New("endpoint has no id")
	}
	if len(e.Addresses) == 0 || len(e.Addresses) > MaxAddresses {
		return fmt.Errorf("endpoint %.80q has %d addresses, not 1 to %d", e.ID, len(e.Addresses), MaxAddresses)
	}
	for _, a := range e.Addresses {
		if err := ValidateAddress(a); err != nil {
			return fmt.Errorf("endpoint %.80q: %w", e.ID, err)
		}
	}
	if e.State > Suspect {
		return fmt.Errorf("endpoint %.80q: state %d is none of %d to %d", e.ID, e.State, Ready, Suspect)
	}
	for _, text := range slices.Concat([]string{e.ID, e.PodUID, e.Zone, e.Region, e.Version}, e.ZoneHints) {
		if len(text) > maxText {
			return fmt.Errorf("endpoint %.80q: text %.80q has %d bytes, more than %d", e.ID, text, len(text), maxText)
		}
	}
	return nil
}

// Validate checks what an owner declares of methods.
func (m *Methods) Validate() error {
	for i, d := range m.Declared {
		if err := ValidateMethodName(d.Name); err != nil {
			return err
		}
		if i > 0 && m.Declared[i-1].Name >= d.Name {
			return fmt.Errorf("method %q after %q: not sorted, or twice", d.Name, m.Declared[i-1].Name)
		}
	}
	return nil
}

func (s *Source) validate() error {
	for _, text := range []string{s.Kind, s.Namespace, s.Name} {
		if len(text) > maxText {
			return fmt.Errorf("source %.80q has %d bytes, more than %d", text, len(text), maxText)
		}
	}
	return nil
}

// Validate checks where a layer stands, and not its values: Merge lets those
// that are invalid fall back. A step that this version does not know keeps its
// place by its number.
func (l *Layer) Validate() error {
	if l.Step <= StepDefault {
		return fmt.Errorf("step %d of a layer is not above %d, the defaults", l.Step, StepDefault)
	}
	if l.Method != "" {
		if err := ValidateMethodName(l.Method); err != nil {
			return err
		}
	}
	for _, word := range []string{string(l.Fields.FailMode), string(l.Fields.LoadBalancer)} {
		if len(word) > maxWord {
			return fmt.Errorf("word %.80q has %d bytes, more than %d", word, len(word), maxWord)
		}
	}
	return l.Source.validate()
}

// Validate checks a limit. One without rate and concurrency admits everything.
func (l *Limit) Validate() error {
	if l.Name == "" || len(l.Name) > maxText {
		return fmt.Errorf("limit's name %.80q has %d bytes, not 1 to %d", l.Name, len(l.Name), maxText)
	}
	for _, m := range l.Methods {
		if err := ValidateMethodName(m); err != nil {
			return fmt.Errorf("limit %q: %w", l.Name, err)
		}
	}
	if l.Section != "" && !slices.Equal(l.Methods, []string{l.Section}) {
		return fmt.Errorf("limit %q of section %q has other methods: %.200q", l.Name, l.Section, l.Methods)
	}
	reasons := []string{
		wrongCount("rate.burst", l.Burst, 0, MaxCount),
		wrongCount("concurrency.max", l.MaxConcurrent, 0, MaxCount),
	}
	if l.By != "" {
		reasons = append(reasons, wrongWord("by", l.By, ByAll, ByCaller))
	}
	if l.CallerNames != "" {
		reasons = append(reasons, wrongWord("callerNames", l.CallerNames, Proven, Declared))
	}
	if l.Rate != nil {
		reasons = append(reasons, wrongCount("rate.count", l.Rate.Count, 1, MaxCount),
			wrongDuration("rate.interval", l.Rate.Interval))
	}
	if r := firstOf(reasons...); r != "" {
		return fmt.Errorf("limit %q: %s", l.Name, r)
	}
	return l.Source.validate()
}

// Validate checks a snapshot that somebody put together. What Decode gives is
// valid.
func (s *Snapshot) Validate() error {
	if err := ValidateServiceName(s.Service); err != nil {
		return err
	}
	if s.Role != Caller && s.Role != Server {
		return fmt.Errorf("role %.80q is neither %s nor %s", s.Role, Caller, Server)
	}
	errs := []error{s.AsOf.Validate(), s.Methods.Validate()}
	for i := range s.Endpoints {
		errs = append(errs, s.Endpoints[i].Validate())
		if i > 0 && s.Endpoints[i-1].ID >= s.Endpoints[i].ID {
			errs = append(errs, fmt.Errorf("endpoint %q after %q: not sorted, or twice", s.Endpoints[i].ID, s.Endpoints[i-1].ID))
		}
	}
	for i := range s.Layers {
		errs = append(errs, s.Layers[i].Validate())
	}
	for i := range s.Limits {
		errs = append(errs, s.Limits[i].Validate())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("snapshot of %s: %w", s.Service, err)
	}
	return nil
}
