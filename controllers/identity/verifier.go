// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// The reasons for which a bearer is refused, as they are counted.
const (
	ReasonNoToken   = "no-token"
	ReasonMalformed = "malformed"
	ReasonIssuer    = "issuer"
	ReasonSignature = "signature"
	ReasonAudience  = "audience"
	ReasonExpired   = "expired"
	ReasonPod       = "unknown-pod"
	ReasonIdentity  = "identity"
	// ReasonUnverifiable is not about the token: it cannot be judged now.
	ReasonUnverifiable = "unverifiable"
)

func reasons() []string {
	return []string{
		ReasonNoToken, ReasonMalformed, ReasonIssuer, ReasonSignature, ReasonAudience, ReasonExpired, ReasonPod, ReasonIdentity,
		ReasonUnverifiable,
	}
}

// Config sets up a Verifier.
type Config struct {
	// Client reaches the API server.
	Client kubernetes.Interface
	// Audience is what tokens must be for.
	Audience string
	// OwnToken is the file with this replica's own token: whoever has the same
	// ServiceAccount is a replica. Empty, or not there: nobody is.
	OwnToken string
	// Gone is called when a Pod is gone, by its UID. It must not block.
	Gone func(uid string)
	// Metrics is where counters are registered.
	Metrics prometheus.Registerer
	// Log gets what happens. The zero Logger discards.
	Log logr.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Verifier judges tokens.
type Verifier struct {
	cfg      Config
	keys     *keys
	pods     *pods
	reviewer *reviewer
	refused  *prometheus.CounterVec
	reviews  *prometheus.CounterVec
	// complaints bounds how often a refusal is logged.
	complaints *complaints

	mu  sync.Mutex // guards own
	own bearer     // zero before it was read
}

// New makes a Verifier. It touches no network.
func New(cfg Config) (*Verifier, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Gone == nil {
		cfg.Gone = func(string) {}
	}
	v := &Verifier{
		cfg: cfg, pods: newPods(cfg.Gone), complaints: newComplaints(cfg.Now),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_registry_refused_total", Help: "Subscriptions that were refused because of who subscribes, by reason.",
		}, []string{"reason"}),
		reviews: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_registry_token_reviews_total", Help: "Tokens that the API server was asked about because its keys could not be read, by result.",
		}, []string{"result"}),
	}
	fetched := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "fairlead_registry_keys_timestamp_seconds", Help: "When the keys were last read by which the cluster signs its tokens.",
	})
	for _, c := range []prometheus.Collector{v.refused, v.reviews, fetched} {
		if err := cfg.Metrics.Register(c); err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
	}
	for _, reason := range reasons() {
		v.refused.WithLabelValues(reason)
	}
	v.keys = &keys{fetch: fetchFrom(cfg.Client.Discovery().RESTClient()), now: cfg.Now, fetched: fetched, fetching: make(chan struct{}, 1)}
	v.reviewer = newReviewer(func(ctx context.Context, r *authenticationv1.TokenReview) (*authenticationv1.TokenReview, error) {
		return cfg.Client.AuthenticationV1().TokenReviews().Create(ctx, r, metav1.CreateOptions{})
	}, cfg.Audience)
	return v, nil
}

// Start follows Pods and keys until ctx ends.
func (v *Verifier) Start(ctx context.Context) error {
	var all sync.WaitGroup
	all.Go(func() { v.pods.run(ctx, v.cfg.Client.CoreV1().RESTClient(), v.cfg.Log) })
	all.Go(func() { v.keys.run(ctx) })
	all.Wait()
	return nil
}

// Declared is what a bearer says of itself; empty fields say nothing.
type Declared struct{ Namespace, PodUID string }

// Proven is what a token has proven.
type Proven struct {
	Namespace, ServiceAccount, Pod, PodUID string
	Expires                                time.Time
	// Replica: it has the ServiceAccount of this process.
	Replica bool
}

// Authenticate says who the bearer of a token is.
func (v *Verifier) Authenticate(ctx context.Context, token string, declared Declared) (*Proven, error) {
	who, expires, reason, err := v.judge(ctx, token)
	if err == nil {
		reason, err = v.place(who, declared)
	}
	if err == nil {
		return &Proven{
			Namespace: who.namespace, ServiceAccount: who.serviceAccount, Pod: who.pod, PodUID: who.podUID, Expires: expires,
			Replica: v.isOwn(who),
		}, nil
	}
	v.refused.WithLabelValues(reason).Inc()
	bearerOf := cmp.Or(who, bearer{namespace: short(declared.Namespace), podUID: short(declared.PodUID)})
	if before, say := v.complaints.about(bearerOf, reason); say {
		v.cfg.Log.Info("a subscriber is refused; while that goes on it is said again after ten minutes", "reason", reason,
			"namespace", bearerOf.namespace, "pod", cmp.Or(bearerOf.pod, bearerOf.podUID), "error", err.Error(), "unsaidBefore", before)
	}
	if reason == ReasonUnverifiable {
		return nil, status.Errorf(status.Unavailable, "the token cannot be judged now: %v", err).WithRetryAfter(time.Second)
	}
	return nil, status.Errorf(status.Unauthenticated, "%s: %v", reason, err)
}

// short bounds what a stranger puts into our log.
func short(s string) string { return s[:min(len(s), 80)] }

// judge checks a token by itself.
func (v *Verifier) judge(ctx context.Context, token string) (who bearer, expires time.Time, reason string, err error) {
	if token == "" {
		return who, expires, ReasonNoToken, fmt.Errorf("no token came: mount one of audience %s at /var/run/fairlead/token; `fairlead inject` adds it", v.cfg.Audience)
	}
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil || len(parsed.Headers) != 1 {
		return who, expires, ReasonMalformed, errors.New("what came is no token of a ServiceAccount") // the cause may quote it
	}
	var c claims
	if err := parsed.UnsafeClaimsWithoutVerification(&c); err != nil {
		return who, expires, ReasonMalformed, errors.New("the token's claims cannot be read")
	}
	issuer, key, err := v.keys.find(ctx, parsed.Headers[0].KeyID)
	switch {
	case errors.Is(err, errNoKeys):
		return v.ask(ctx, token, &c)
	case err != nil && c.Issuer != issuer:
		return who, expires, ReasonIssuer, fmt.Errorf("the token: %w", errIssuer)
	case err != nil:
		return who, expires, ReasonSignature, fmt.Errorf("the token: %w", err)
	}
	c = claims{}
	if err := parsed.Claims(key.Key, &c); err != nil {
		return who, expires, ReasonSignature, errors.New("the token's signature is wrong")
	}
	if err := c.check(issuer, v.cfg.Audience, v.cfg.Now()); err != nil {
		return who, expires, reasonOf(err), v.because(err)
	}
	return c.bearer(), c.Expiry.Time(), "", nil
}

// ask has the API server judge.
func (v *Verifier) ask(ctx context.Context, token string, c *claims) (who bearer, expires time.Time, reason string, err error) {
	who, err = v.reviewer.review(ctx, token)
	switch {
	case err == nil && c.Expiry != nil:
		v.reviews.WithLabelValues("known").Inc()
		return who, c.Expiry.Time(), "", nil // the API server has checked the claims
	case err == nil, errors.Is(err, errRefused), errors.Is(err, errWrongAudience):
		v.reviews.WithLabelValues("refused").Inc()
		if err == nil {
			err = errExpired
		}
		return who, expires, reasonOf(err), v.because(err)
	default:
		v.reviews.WithLabelValues("failed").Inc()
		return who, expires, ReasonUnverifiable, fmt.Errorf("%w, and the API server does not answer: %w", errNoKeys, err)
	}
}

func reasonOf(err error) string {
	switch {
	case errors.Is(err, errWrongAudience):
		return ReasonAudience
	case errors.Is(err, errExpired), errors.Is(err, errEarly):
		return ReasonExpired
	case errors.Is(err, errIssuer):
		return ReasonIssuer
	default:
		return ReasonSignature
	}
}

func (v *Verifier) because(err error) error {
	if errors.Is(err, errWrongAudience) {
		return fmt.Errorf("the token: %w than %s: mount one with `audience: %s`", err, v.cfg.Audience, v.cfg.Audience)
	}
	return fmt.Errorf("the token: %w", err)
}

// place checks a bearer against the Pods there are, and what it declares.
func (v *Verifier) place(who bearer, declared Declared) (reason string, err error) {
	found, there, listed := v.pods.get(who.podUID)
	switch {
	case who.podUID == "":
		return ReasonPod, errors.New("the token is bound to no Pod: it must be one that the kubelet mounted")
	case !listed:
		return ReasonUnverifiable, errors.New("the Pods have not been listed yet")
	case !there:
		return ReasonPod, fmt.Errorf("there is no Pod %s/%s of the UID in the token", who.namespace, who.pod)
	case found.namespace != who.namespace || found.name != who.pod || found.serviceAccount != who.serviceAccount:
		return ReasonPod, errors.New("the token and its Pod do not agree")
	case declared.Namespace != "" && declared.Namespace != who.namespace:
		return ReasonIdentity, fmt.Errorf("the process says that it is of the namespace %q, and its token is of %q: take away or correct what says so, "+
			"FAIRLEAD_NAMESPACE, WithNamespace or the mounted file namespace; without these it goes by its token", short(declared.Namespace), who.namespace)
	case declared.PodUID != "" && declared.PodUID != who.podUID:
		return ReasonIdentity, errors.New("the process says that it is another Pod than its token says: take away or correct what says so, " +
			"FAIRLEAD_POD_UID or the mounted file pod-uid")
	default:
		return "", nil
	}
}

// isOwn says whether a bearer has our own ServiceAccount.
func (v *Verifier) isOwn(who bearer) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.own == (bearer{}) && v.cfg.OwnToken != "" {
		v.own = readOwn(v.cfg.OwnToken)
	}
	return v.own.serviceAccount != "" && v.own.namespace == who.namespace && v.own.serviceAccount == who.serviceAccount
}

// readOwn reads who we are. Our own token needs no check.
func readOwn(file string) bearer {
	b, err := os.ReadFile(file)
	if err != nil {
		return bearer{}
	}
	parsed, err := jwt.ParseSigned(strings.TrimSpace(string(b)), algorithms)
	if err != nil {
		return bearer{}
	}
	var c claims
	if err := parsed.UnsafeClaimsWithoutVerification(&c); err != nil {
		return bearer{}
	}
	return c.bearer()
}
