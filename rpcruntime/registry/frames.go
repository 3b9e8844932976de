// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"crypto/sha256"
	"slices"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// The service and its methods. docs/registry-protocol.md §2
const (
	// Path is the service path of the registry's methods.
	Path = "fairlead.Registry"
	// MethodSubscribe replaces what a connection is subscribed to.
	MethodSubscribe = "Subscribe"
	// MethodAck says what a client holds. It is oneway.
	MethodAck = "Ack"
	// MethodRegister takes, renews or leaves a lease for an instance.
	MethodRegister = "Register"
	// MethodRenew proves anew who the client is, before its last proof runs out.
	MethodRenew = "Renew"

	// PushPath is the path of all pushes; the method is the kind.
	PushPath = "__fl.registry"
)

// The kinds of pushes. A client ignores and counts those it does not know, but
// for those that begin with "!". docs/registry-protocol.md §3
const (
	KindPart   = "part"
	KindChange = "change"
	KindGone   = "gone"
	KindBehind = "behind"
	KindSelf   = "self"
	KindTrust  = "trust"
)

// The bounds of messages. What is over one is refused, undecoded.
const (
	// MaxSubscriptions bounds the subscriptions of a connection.
	MaxSubscriptions = 4096
	// MaxParts bounds the parts that one subscriber gets of one service.
	MaxParts = 16
	// MaxFeatures bounds the features of a client.
	MaxFeatures = 64
	// MaxNear bounds the names offered instead of an unknown one.
	MaxNear = 3
	// ChunkBytes bounds the items of one part frame, unless it holds only one.
	ChunkBytes = 1 << 20
	// MaxToken bounds a token, MaxBundle the authorities that are pushed, in bytes.
	MaxToken  = 16 << 10
	MaxBundle = 256 << 10

	maxText     = 1024
	maxReason   = 4096
	maxServes   = 1024
	maxMetadata = 64
)

// Identity is what a subscriber says of itself. All fields may be empty.
type Identity struct {
	// Namespace and App name the workload.
	Namespace string `msgpack:"ns,omitempty"`
	App       string `msgpack:"a,omitempty"`
	// PodUID and Pod name the Pod.
	PodUID string `msgpack:"u,omitempty"`
	Pod    string `msgpack:"p,omitempty"`
	// Addresses are where it serves, host:port.
	Addresses []string `msgpack:"d,omitempty"`
	// Instance tells clients apart: the same on each connection of one, and another
	// for every other. It is made up, and proves nothing.
	Instance string `msgpack:"i,omitempty"`
}

// Self is what the registry knows of a subscriber.
type Self struct {
	Namespace      string `msgpack:"ns,omitempty"`
	ServiceAccount string `msgpack:"sa,omitempty"`
	Pod            string `msgpack:"p,omitempty"`
	Zone           string `msgpack:"z,omitempty"`
	Region         string `msgpack:"r,omitempty"`
	// Serves are the services that the subscriber is an endpoint of.
	Serves []Serving `msgpack:"s,omitempty"`
}

// Equal says whether two are the same.
func (s Self) Equal(other Self) bool {
	return s.Namespace == other.Namespace && s.ServiceAccount == other.ServiceAccount && s.Pod == other.Pod &&
		s.Zone == other.Zone && s.Region == other.Region && slices.Equal(s.Serves, other.Serves)
}

// Serving is a service that a subscriber is an endpoint of.
type Serving struct {
	// Service is namespace/name.
	Service string `msgpack:"n"`
	// Port is the port's number or name; empty when not known.
	Port string `msgpack:"p,omitempty"`
}

// SubscribeRequest replaces the whole subscription of its connection.
type SubscribeRequest struct {
	Identity Identity `msgpack:"i"`
	// Features are words for what the client understands and honours.
	Features []string `msgpack:"f,omitempty"`
	// Version is the runtime's, for people.
	Version  string         `msgpack:"v,omitempty"`
	Services []Subscription `msgpack:"s,omitempty"`
	// Token proves who the client is; empty where nobody asks. It is a secret.
	Token string `msgpack:"k,omitempty"`
	// Trust is the digest of the authorities that the client believes, BundleDigest;
	// zero for a client that does not take new ones from the registry.
	Trust policy.Digest `msgpack:"t,omitempty"`
}

// Subscription is what a client wants of one service, and what it holds of it.
type Subscription struct {
	// Service is namespace/name.
	Service string      `msgpack:"n"`
	Role    policy.Role `msgpack:"r"`
	// Digest is what the client holds; zero for nothing.
	Digest policy.Digest `msgpack:"d,omitempty"`
	// Epoch and AsOf say how new that is.
	Epoch string      `msgpack:"e,omitempty"`
	AsOf  policy.AsOf `msgpack:"a,omitempty"`
	// Parts are the digests of the parts that it is made of.
	Parts []policy.PartDigest `msgpack:"p,omitempty"`
	// Again: what was sent on this connection before did not fit together; send
	// what differs from Parts.
	Again bool `msgpack:"x,omitempty"`
}

// SubscribeReply answers a SubscribeRequest. What is accepted follows as pushes.
type SubscribeReply struct {
	// Epoch and AsOf are the replica's.
	Epoch string      `msgpack:"e,omitempty"`
	AsOf  policy.AsOf `msgpack:"a,omitempty"`
	// Revision is the replica's cursor when the request was looked at: a change
	// with a higher one is newer than this reply, even if it came before it.
	Revision uint64 `msgpack:"v,omitempty"`
	Self     Self   `msgpack:"i"`
	// Accepted services are followed by a change, or by behind.
	Accepted []ServiceRole `msgpack:"y,omitempty"`
	Refused  []Refusal     `msgpack:"n,omitempty"`
}

// ServiceRole names a subscription.
type ServiceRole struct {
	Service string      `msgpack:"n"`
	Role    policy.Role `msgpack:"r"`
}

// Refusal is a subscription that gives nothing for now.
type Refusal struct {
	Service string      `msgpack:"n"`
	Role    policy.Role `msgpack:"r"`
	// Reason is one of the Reason constants.
	Reason string `msgpack:"c"`
	// Message is for people.
	Message string `msgpack:"m,omitempty"`
	// Near are names that the client may have meant.
	Near []string `msgpack:"l,omitempty"`
}

// The reasons of refusals. A client treats others as ReasonInvalid.
const (
	// ReasonNotFound: there is no such service now. The subscription stands: a
	// change follows when it appears.
	ReasonNotFound = "not-found"
	// ReasonForbidden: the service is there and not for this caller. The
	// subscription stands: a change follows when it is.
	ReasonForbidden = "forbidden"
	// ReasonInvalid: the name or role is wrong; nothing stands.
	ReasonInvalid = "invalid"
)

// AckRequest says what a client holds. It supersedes what earlier ones said of
// the same subscriptions.
type AckRequest struct {
	Acks []Ack `msgpack:"s"`
	// Trust is as in SubscribeRequest; zero says nothing new.
	Trust policy.Digest `msgpack:"t,omitempty"`
}

// RenewRequest has a token that the client got since it subscribed. It is a
// secret.
type RenewRequest struct {
	Token string `msgpack:"k"`
}

// RenewReply says that the token was taken.
type RenewReply struct{}

// Ack is what a client holds of one service.
type Ack struct {
	Service string        `msgpack:"n"`
	Role    policy.Role   `msgpack:"r"`
	Digest  policy.Digest `msgpack:"d,omitempty"`
	// Rejected says why the newest change was not taken; empty if it was.
	Rejected string `msgpack:"x,omitempty"`
}

// RegisterRequest takes or renews a lease for an instance, or leaves it.
type RegisterRequest struct {
	// Service is namespace/name, Address host:port.
	Service string `msgpack:"n"`
	Address string `msgpack:"a"`
	// PodUID and Zone are empty when not known.
	PodUID   string     `msgpack:"u,omitempty"`
	Zone     string     `msgpack:"z,omitempty"`
	Metadata []KeyValue `msgpack:"m,omitempty"`
	// Leave ends the lease: the instance drains.
	Leave bool `msgpack:"x,omitempty"`
}

// KeyValue is one entry of metadata; a list of them is sorted by key.
type KeyValue struct {
	Key   string `msgpack:"k"`
	Value string `msgpack:"v"`
}

// RegisterReply grants a lease.
type RegisterReply struct {
	// LeaseMillis is how long the lease lasts unless it is renewed; 0 after
	// leaving.
	LeaseMillis int64 `msgpack:"l"`
}

// PartFrame is a part of a service, or a chunk of one. Nothing is applied
// before a change names it.
type PartFrame struct {
	Service string `msgpack:"s"`
	Part    string `msgpack:"p"`
	// Digest is what the part amounts to after the last chunk.
	Digest policy.Digest `msgpack:"d"`
	// Base is the digest of the part that this one is a difference to; zero for
	// a part in full.
	Base policy.Digest `msgpack:"b,omitempty"`
	// Chunk counts the frames of a part from 0; Last marks the last.
	Chunk uint32 `msgpack:"c,omitempty"`
	Last  bool   `msgpack:"l,omitempty"`
	// Items are added or, by id, replaced.
	Items []policy.Item `msgpack:"i,omitempty"`
	// Removed are ids of items of the base.
	Removed []string `msgpack:"r,omitempty"`
}

// ChangeFrame names all parts that a subscriber has from now on.
type ChangeFrame struct {
	Service string      `msgpack:"s"`
	Role    policy.Role `msgpack:"r"`
	Epoch   string      `msgpack:"e"`
	// Revision is the replica's cursor, with the epoch; it is not for people.
	Revision uint64              `msgpack:"v"`
	AsOf     policy.AsOf         `msgpack:"a,omitempty"`
	Parts    []policy.PartDigest `msgpack:"p"`
	// Digest covers the parts.
	Digest policy.Digest `msgpack:"d"`
}

// GoneFrame says that a service was seen deleted.
type GoneFrame struct {
	Service string      `msgpack:"s"`
	Role    policy.Role `msgpack:"r"`
	Epoch   string      `msgpack:"e"`
	AsOf    policy.AsOf `msgpack:"a,omitempty"`
}

// BehindFrame says that the replica has not seen all that the client holds. A
// change follows when it has caught up.
type BehindFrame struct {
	Service string      `msgpack:"s"`
	Role    policy.Role `msgpack:"r"`
	Epoch   string      `msgpack:"e"`
	AsOf    policy.AsOf `msgpack:"a,omitempty"`
}

// SelfFrame says what the registry knows of the subscriber by now.
type SelfFrame struct {
	Self Self `msgpack:"i"`
}

// TrustFrame has the authorities of which one signs the registry's certificates,
// from now on.
type TrustFrame struct {
	// Bundle holds their certificates in PEM.
	Bundle []byte `msgpack:"b"`
}

// BundleDigest is that of a bundle: the first 16 bytes of its SHA-256.
func BundleDigest(bundle []byte) (d policy.Digest) {
	sum := sha256.Sum256(bundle)
	copy(d[:], sum[:])
	return d
}
