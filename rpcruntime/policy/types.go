// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strconv"
	"time"
)

// Role says as what a process subscribes to a service.
type Role string

// The two roles.
const (
	// Caller gets the service's endpoints and call policies.
	Caller Role = "Caller"
	// Server, an instance of the service, gets its limits and methods.
	Server Role = "Server"
)

// EndpointState is what the registry says of an endpoint.
type EndpointState uint8

const (
	// Ready endpoints take calls.
	Ready EndpointState = iota
	// Draining endpoints are terminating but still serve: they are used only
	// while none is ready.
	Draining
	// Suspect endpoints stand in a slice, not ready, not serving and not
	// terminating: what a lost node looks like. The client decides.
	Suspect
)

// Endpoint is one backend instance. It is immutable once published.
type Endpoint struct {
	// ID is stable over updates: the Pod's UID and the port, else address and port.
	ID string `msgpack:"id"`
	// Addresses are host:port pairs in order of preference, at least one; more
	// than one for a dual-stack Pod.
	Addresses []string `msgpack:"a"`
	// State is Ready when absent.
	State EndpointState `msgpack:"s,omitempty"`
	// PodUID is empty for an endpoint that is not a Pod.
	PodUID string `msgpack:"u,omitempty"`
	// Zone and Region are empty when unknown.
	Zone   string `msgpack:"z,omitempty"`
	Region string `msgpack:"r,omitempty"`
	// ZoneHints are the zones that the slice's hints name for this endpoint.
	ZoneHints []string `msgpack:"h,omitempty"`
	// Weight is relative to other endpoints; 0 means not set.
	Weight uint32 `msgpack:"w,omitempty"`
	// Version is free text from the instance, for routes; empty when not set.
	Version string `msgpack:"v,omitempty"`
}

// Method is what the owner declares of one method.
type Method struct {
	// Name is Path.Method.
	Name string `msgpack:"n"`
	// Idempotent methods may be sent again when it is unknown whether they ran.
	Idempotent bool `msgpack:"i,omitempty"`
}

// Methods is what the owner declares of the service's methods.
type Methods struct {
	// Declared need not be complete; sorted by name.
	Declared []Method `msgpack:"m,omitempty"`
	// RefuseUndeclared: calls to methods that are not declared are refused with
	// Unimplemented, by the client and by a server that knows its service.
	RefuseUndeclared bool `msgpack:"x,omitempty"`
}

// Source names the object that set a value. The zero Source is a default.
type Source struct {
	Kind       string `msgpack:"k,omitempty"`
	Namespace  string `msgpack:"ns,omitempty"`
	Name       string `msgpack:"n,omitempty"`
	Generation int64  `msgpack:"g,omitempty"`
	// Created is the object's creation, in seconds since 1970: within a step
	// the older object wins, ties go to the first namespace/name.
	Created int64 `msgpack:"c,omitempty"`
}

// Step is a layer's place in the one total order of merging, weakest first.
// The numbers leave room and travel on the wire.
type Step uint8

// The steps. Those that override are the owner's again: there the wider one is
// the stronger one.
const (
	StepDefault           Step = 10
	StepOwnerNamespace    Step = 20
	StepOwnerService      Step = 30
	StepOwnerMethod       Step = 40
	StepCallerNamespace   Step = 50
	StepCallerService     Step = 60
	StepCallerMethod      Step = 70
	StepOverrideMethod    Step = 80
	StepOverrideService   Step = 90
	StepOverrideNamespace Step = 100
)

// Caller says whether layers of the step bind the callers of one namespace only.
func (s Step) Caller() bool { return s >= StepCallerNamespace && s <= StepCallerMethod }

// Overrides says whether layers of the step are overrides of the owner.
func (s Step) Overrides() bool { return s > StepCallerMethod }

// String names the step for people, as in "owner's service".
func (s Step) String() string {
	switch s {
	case StepDefault:
		return "default"
	case StepOwnerNamespace:
		return "owner's namespace"
	case StepOwnerService:
		return "owner's service"
	case StepOwnerMethod:
		return "owner's method"
	case StepCallerNamespace:
		return "caller's namespace"
	case StepCallerService:
		return "caller's service"
	case StepCallerMethod:
		return "caller's method"
	case StepOverrideMethod:
		return "override of the method"
	case StepOverrideService:
		return "override of the service"
	case StepOverrideNamespace:
		return "override of the namespace"
	default:
		return "step " + strconv.Itoa(int(s))
	}
}

// Layer is what one policy object says at one step.
type Layer struct {
	Step Step `msgpack:"s"`
	// Method is Path.Method for a layer of one method; empty for all methods.
	Method string     `msgpack:"m,omitempty"`
	Source Source     `msgpack:"o,omitempty"`
	Fields CallFields `msgpack:"f"`
}

// FailMode says what happens after an attempt failed.
type FailMode string

// The fail modes.
const (
	// Failfast makes one attempt.
	Failfast FailMode = "Failfast"
	// Failover makes up to Attempts, each on an endpoint not yet tried.
	Failover FailMode = "Failover"
)

// LoadBalancer says how an endpoint is chosen.
type LoadBalancer string

// The load balancers.
const (
	Random       LoadBalancer = "Random"
	RoundRobin   LoadBalancer = "RoundRobin"
	LeastRequest LoadBalancer = "LeastRequest"
)

// CallFields are the fields of a call policy; nil or empty means that this
// layer does not set them. Each field is a leaf of merging, set or taken whole.
type CallFields struct {
	// Timeout bounds the whole call, attempts and backoff included.
	Timeout *time.Duration `msgpack:"t,omitempty"`
	// FailMode is empty when not set.
	FailMode FailMode `msgpack:"fm,omitempty"`
	// Attempts includes the first.
	Attempts *int32 `msgpack:"ra,omitempty"`
	// PerTryTimeout binds an attempt after which another is possible.
	PerTryTimeout *time.Duration `msgpack:"rp,omitempty"`
	Backoff       *Backoff       `msgpack:"rb,omitempty"`
	Budget        *Budget        `msgpack:"rg,omitempty"`
	MinRetryRate  *Rate          `msgpack:"rm,omitempty"`
	// LoadBalancer is empty when not set.
	LoadBalancer LoadBalancer `msgpack:"lb,omitempty"`
}

// Backoff is the delay between attempts: exponential from Base to Max, full jitter.
type Backoff struct {
	Base time.Duration `msgpack:"b"`
	Max  time.Duration `msgpack:"m"`
}

// Budget bounds retries to Percent of the calls of the last Interval.
type Budget struct {
	Percent  int32         `msgpack:"p"`
	Interval time.Duration `msgpack:"i"`
}

// Rate is Count per Interval.
type Rate struct {
	Count    int32         `msgpack:"c"`
	Interval time.Duration `msgpack:"i"`
}

// By says what a limit counts by.
type By string

// The subjects of a limit.
const (
	// ByAll counts all callers together.
	ByAll By = "All"
	// ByCaller counts each caller by itself.
	ByCaller By = "Caller"
)

// CallerNames says which callers' names a limit by caller believes.
type CallerNames string

// The kinds of names.
const (
	// Proven names come from a token or certificate; all others share one bucket.
	Proven CallerNames = "Proven"
	// Declared names are believed too.
	Declared CallerNames = "Declared"
)

// Limit is what one instance admits. Limits never merge: all must admit.
type Limit struct {
	Source Source `msgpack:"o"`
	// Name is unique within its policy.
	Name string `msgpack:"n"`
	// Section is the method that the policy's target names, empty when the
	// target is the whole service. Each target has counts of its own.
	Section string `msgpack:"t,omitempty"`
	// Methods are Path.Method names that share one count; empty means all
	// methods together.
	// Invariant: Methods is Section alone when Section is set.
	Methods []string `msgpack:"m,omitempty"`
	// By is ByAll when empty.
	By By `msgpack:"b,omitempty"`
	// CallerNames is Proven when empty; it matters only for ByCaller.
	CallerNames CallerNames `msgpack:"cn,omitempty"`
	// Rate is nil when there is none.
	Rate *Rate `msgpack:"r,omitempty"`
	// Burst is the most that the rate's bucket holds; 0 means Rate.Count.
	Burst int32 `msgpack:"rb,omitempty"`
	// MaxConcurrent is the most calls running at once; 0 means no such limit.
	MaxConcurrent int32 `msgpack:"mc,omitempty"`
}

// Snapshot is everything that one subscriber knows of one service in one role.
// It is immutable and shared: nobody changes what it points to.
type Snapshot struct {
	// Service is namespace/name.
	Service string
	Role    Role
	Epoch   string
	AsOf    AsOf
	// Digest covers Parts.
	Digest Digest
	// Parts are the digests of the parts that this subscriber holds, by name.
	Parts []PartDigest
	// Endpoints are sorted by ID; empty for a Server.
	Endpoints []Endpoint
	Methods   Methods
	// Layers are those of the owner and of the caller's namespace.
	Layers []Layer
	// Limits are empty for a Caller.
	Limits []Limit
	// UnknownFields names what this runtime did not understand.
	UnknownFields []string

	delta *snapshotDelta // how Endpoints came from another's; nil if not known
}

// PartDigest names a part and what it holds.
type PartDigest struct {
	Name   string `msgpack:"n"`
	Digest Digest `msgpack:"d"`
}

// AsOf says how new something is, per kind of object watched, sorted by kind.
type AsOf []KindRevision

// KindRevision is the age of one kind.
type KindRevision struct {
	Kind string `msgpack:"k"`
	// Changed is the highest revision of the service's own objects of the kind,
	// deletions included.
	Changed uint64 `msgpack:"c"`
	// Seen is up to which revision the source had seen the kind.
	Seen uint64 `msgpack:"s"`
}

// Digest says what something is: two of them are the same or different, never
// newer. Only equality and, within a part, addition mod 2^128 are defined.
type Digest [16]byte
