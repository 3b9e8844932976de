// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
	"github.com/fairlead/fairlead/internal/manifest"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// report is what people are told of a service, so that they are told once.
type report struct {
	// state is empty for a service that is not served.
	state string
	// problems are sorted.
	problems []string
}

// report tells what became of a service, if that is new.
func (p *plane) report(out *compile.ServiceOutput) {
	old, now := p.published[out.Key], reportOf(out)
	switch {
	case out.Report == nil && old.state != "":
		p.log.line("%s: gone", out.Key)
	case now.state == "" && old.state != "":
		p.log.line("%s: not accepted any more; its last good state is served on", out.Key)
		now.state = old.state
	case now.state != old.state:
		p.log.line("%s: %s%s", out.Key, now.state, p.audience(out.Key))
	}
	for _, problem := range now.problems {
		if !slices.Contains(old.problems, problem) {
			p.log.problem("%s", problem)
		}
	}
	if out.Report == nil && len(now.problems) == 0 {
		delete(p.published, out.Key)
		return
	}
	p.published[out.Key] = now
}

// audience counts the subscribers of a service, if verbose.
func (p *plane) audience(service compile.Key) string {
	if !p.log.verbose {
		return ""
	}
	callers, servers := 0, 0
	for _, c := range p.clients() {
		switch {
		case c.Service != service.String():
		case c.Role == policy.Server:
			servers += c.Clients
		default:
			callers += c.Clients
		}
	}
	return fmt.Sprintf(", subscribed: %d callers, %d servers", callers, servers)
}

func reportOf(out *compile.ServiceOutput) report {
	var r report
	if out.Published {
		r.state = fmt.Sprintf("callers %s, servers %s, endpoints %s",
			digestFor(out, policy.Caller).Short(), digestFor(out, policy.Server).Short(), out.Report.Summary.Endpoints)
	}
	if out.Report != nil {
		for _, c := range out.Report.Conditions {
			if c.Status == metav1.ConditionFalse && (c.Type == v1alpha1.ConditionAccepted || c.Type == v1alpha1.ConditionResolvedRefs) {
				r.problems = append(r.problems, fmt.Sprintf("RPCService %s: %s: %s", out.Key, c.Reason, c.Message))
			}
		}
	}
	for i := range out.Targets {
		r.problems = append(r.problems, problemsOf(&out.Targets[i])...)
	}
	slices.Sort(r.problems)
	return r
}

// problemsOf says why a policy does not do all that it says. That another policy
// is stronger is as it should be.
func problemsOf(t *compile.TargetReport) (problems []string) {
	said := map[string]struct{}{}
	for _, c := range t.Conditions {
		bad := c.Type == v1alpha1.ConditionAccepted || c.Type == v1alpha1.ConditionResolvedRefs
		if _, again := said[c.Message]; c.Status != metav1.ConditionFalse || !bad || again {
			continue
		}
		said[c.Message] = struct{}{}
		problems = append(problems, fmt.Sprintf("%s %s: %s: %s", t.Kind, t.Policy, c.Reason, c.Message))
	}
	return problems
}

// digestFor is the digest that subscribers in the service's own namespace see.
func digestFor(out *compile.ServiceOutput, role policy.Role) policy.Digest {
	var parts []policy.PartDigest
	for _, part := range out.PartsFor(role, out.Key.Namespace) {
		parts = append(parts, policy.PartDigest{Name: part.Name, Digest: part.Digest})
	}
	return policy.ServiceDigest(parts)
}

// reportFindings tells what is wrong with files, each thing once.
func (p *plane) reportFindings(findings []manifest.Finding) {
	now := make(map[manifest.Finding]struct{}, len(findings))
	for _, f := range findings {
		now[f] = struct{}{}
	}
	if maps.Equal(now, p.findings) {
		return
	}
	for _, f := range findings {
		if _, known := p.findings[f]; known {
			continue
		}
		if f.Severity == manifest.Error {
			p.log.line("refused: %s", f)
		} else {
			p.log.line("%s", f)
		}
	}
	switch {
	case anyError(now) && p.loaded:
		p.log.line("the last good state of these files is served on")
	case anyError(now):
		p.log.line("nothing is served before these files are mended or taken away: callers would believe what is left")
	case anyError(p.findings):
		p.log.line("all files are good again")
	}
	p.findings = now
}

func anyError(findings map[manifest.Finding]struct{}) bool {
	for f := range findings {
		if f.Severity == manifest.Error {
			return true
		}
	}
	return false
}
