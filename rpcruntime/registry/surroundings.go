// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// Where a Pod finds what it needs, unless the environment says otherwise.
// docs/operations.md
const (
	DefaultDir      = "/var/run/fairlead"
	DefaultCacheDir = "/var/cache/fairlead"

	// podNamespace is mounted into almost every Pod.
	podNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// Surroundings are what a process is told from outside: by its environment, and
// by files that are mounted into its Pod. The environment goes first.
type Surroundings struct {
	// Dir is the folder of the files, Mounted whether it is there.
	Dir     string
	Mounted bool
	// Addresses are those of the environment; none means that the file address in
	// Dir has them, which is read when they are needed.
	Addresses []string
	// CAFile has the registry's authorities, TokenFile the process's token.
	CAFile, TokenFile string
	// CAWanted: the environment names the authorities, so there is no connection
	// without them.
	CAWanted bool
	// Services that servers of the process are instances of.
	Services []string
	// Namespace, App, Pod and PodUID say who the process is; empty when unknown.
	Namespace, App, Pod, PodUID string
	// CacheDir is the folder of the cache; empty for none.
	CacheDir string
}

// Look reads the environment and what is mounted. What may change, or come later,
// is read when it is needed: addresses, authorities and token.
func Look(getenv func(string) string) Surroundings {
	s := Surroundings{
		Dir:       cmp.Or(getenv("FAIRLEAD_CONFIG_DIR"), DefaultDir),
		Addresses: listed(getenv("FAIRLEAD_REGISTRY")), Services: listed(getenv("FAIRLEAD_SERVICES")),
		CAWanted: getenv("FAIRLEAD_REGISTRY_CA") != "",
	}
	info, err := os.Stat(s.Dir)
	s.Mounted = err == nil && info.IsDir()
	s.CAFile = cmp.Or(getenv("FAIRLEAD_REGISTRY_CA"), filepath.Join(s.Dir, "ca.crt"))
	s.TokenFile = cmp.Or(getenv("FAIRLEAD_TOKEN_FILE"), filepath.Join(s.Dir, "token"))
	s.Namespace = cmp.Or(getenv("FAIRLEAD_NAMESPACE"), s.line("namespace"), line(podNamespace), s.tokenNamespace())
	s.App = cmp.Or(getenv("FAIRLEAD_APP"), s.line("app"))
	s.Pod, s.PodUID = s.line("pod-name"), cmp.Or(getenv("FAIRLEAD_POD_UID"), s.line("pod-uid"))
	s.CacheDir = getenv("FAIRLEAD_CACHE_DIR")
	if info, err := os.Stat(DefaultCacheDir); s.CacheDir == "" && err == nil && info.IsDir() {
		s.CacheDir = DefaultCacheDir
	}
	return s
}

// line reads a mounted file of one line; empty if it is not there.
func (s *Surroundings) line(name string) string {
	if !s.Mounted {
		return ""
	}
	return line(filepath.Join(s.Dir, name))
}

func line(file string) string {
	text, err := readText(file, maxText)
	if err != nil {
		return ""
	}
	return text
}

// tokenNamespace is the namespace that the token was issued for; empty if it does
// not say. The registry goes by it, so a Pod whose mount lacks the file namespace
// is not refused for a name that it never gave.
func (s *Surroundings) tokenNamespace() string {
	text, err := readText(s.TokenFile, MaxToken)
	parts := strings.Split(text, ".")
	if err != nil || len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Kubernetes struct {
			Namespace string `json:"namespace"`
		} `json:"kubernetes.io"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return ""
	}
	return claims.Kubernetes.Namespace
}

// readText reads a file of at most limit bytes, without the white space around.
func readText(file string, limit int64) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if info.Size() > limit {
		return "", fmt.Errorf("%s has %d bytes, more than %d", file, info.Size(), limit)
	}
	b, err := os.ReadFile(file)
	return strings.TrimSpace(string(b)), err
}

func listed(s string) (items []string) {
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// Registry says whether anything tells of a registry.
func (s *Surroundings) Registry() bool { return len(s.Addresses) > 0 || s.Mounted }

// Configure makes cfg reach the registry as the surroundings say. With
// authorities connections use TLS, and the token is sent on these only. base
// opens connections; nil means plain TCP.
func (s *Surroundings) Configure(cfg *Config, base func(ctx context.Context, address string) (net.Conn, error), log logr.Logger) {
	if base == nil {
		base = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	cfg.Addresses = s.Addresses
	if len(s.Addresses) == 0 {
		cfg.Resolve = s.addresses
	}
	cfg.Trust = NewTrust(s.CAFile, cfg.CacheDir, log)
	cfg.Token = s.token
	cfg.Unanswered = s.unanswered
	trust := cfg.Trust
	cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		pool, err := trust.Pool()
		plain := errors.Is(err, fs.ErrNotExist) && !s.CAWanted
		if err != nil && !plain {
			return nil, fmt.Errorf("the registry's authorities: %w; %s", err, s.advice())
		}
		nc, err := base(ctx, address)
		if err != nil || plain {
			return nc, err
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address
		}
		conn := tls.Client(nc, &tls.Config{RootCAs: pool, ServerName: host, MinVersion: tls.VersionTLS12})
		if err := conn.HandshakeContext(ctx); err != nil {
			_ = nc.Close() // what went wrong is known
			return nil, s.explain(err)
		}
		return conn, nil
	}
}

// unanswered says what may be missing when nothing was verified.
func (s *Surroundings) unanswered() string {
	if _, err := os.Stat(s.CAFile); err == nil {
		return ""
	}
	return fmt.Sprintf("there is no %s: if the registry speaks TLS, that has to be there; %s", s.CAFile, s.advice())
}

// advice says how what is missing gets there.
func (s *Surroundings) advice() string {
	switch {
	case s.CAWanted:
		return "FAIRLEAD_REGISTRY_CA names it"
	case !s.Mounted:
		return "nothing is mounted at " + s.Dir + ": run the manifest through `fairlead inject`, or label the Pod rpc.fairlead.dev/config=mount"
	default:
		return fmt.Sprintf("it comes from the ConfigMap fairlead-registry: label the namespace %s rpc.fairlead.dev/registry=true",
			cmp.Or(s.Namespace, "of the Pod"))
	}
}

// explain says what a failed handshake means.
func (s *Surroundings) explain(err error) error {
	var untrusted *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &untrusted):
		return fmt.Errorf("its certificate is not trusted by %s: %w", s.CAFile, err)
	case errors.As(err, &record):
		return fmt.Errorf("it does not speak TLS, and %s says that it does: %w", s.CAFile, err)
	default:
		return fmt.Errorf("the TLS handshake failed: %w", err)
	}
}

// addresses reads them from the mounted file.
func (s *Surroundings) addresses() ([]string, error) {
	file := filepath.Join(s.Dir, "address")
	text, err := readText(file, 64<<10)
	if err != nil {
		return nil, status.New(status.Unavailable, fmt.Sprintf("no registry address: %v; %s", err, s.advice())).WithCause(err)
	}
	addresses := listed(text)
	for _, a := range addresses {
		if err := policy.ValidateAddress(a); err != nil {
			return nil, status.New(status.Unavailable, fmt.Sprintf("%s: %v", file, err)).WithCause(err)
		}
	}
	return addresses, nil
}

// token reads it from its file.
func (s *Surroundings) token(context.Context) (string, error) {
	text, err := readText(s.TokenFile, MaxToken)
	switch {
	case err != nil:
		return "", fmt.Errorf("%w; it is a projected ServiceAccount token of audience fairlead: run the manifest through `fairlead inject`, "+
			"or label the Pod rpc.fairlead.dev/config=mount", err)
	case text == "":
		return "", fmt.Errorf("%s is empty", s.TokenFile)
	default:
		return text, nil
	}
}
