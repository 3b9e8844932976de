// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// patience bounds every wait; nothing waits for as long when all is well.
const patience = 20 * time.Second

const serviceManifest = `apiVersion: rpc.fairlead.dev/v1alpha1
kind: RPCService
metadata: {name: arith}
spec:
  source: {type: Registered}
  methods:
  - {name: Arith.Mul, idempotency: Idempotent}
`

func policyManifest(timeout string) string {
	return `apiVersion: rpc.fairlead.dev/v1alpha1
kind: RPCCallPolicy
metadata: {name: arith}
spec:
  targetRefs: [{group: rpc.fairlead.dev, kind: RPCService, name: arith}]
  timeout: ` + timeout + "\n"
}

// place is where a control plane works: its files, its state, its address.
type place struct {
	t                *testing.T
	manifests, state string
	listen           string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	root := t.TempDir()
	p := &place{t: t, manifests: filepath.Join(root, "manifests"), state: filepath.Join(root, "state"), listen: "127.0.0.1:0"}
	if err := os.Mkdir(p.manifests, 0o700); err != nil {
		t.Fatal(err)
	}
	return p
}

// write writes a manifest as editors do: at once.
func (p *place) write(name, text string) {
	p.t.Helper()
	file := filepath.Join(p.manifests, name)
	if err := os.WriteFile(p.state+".new", []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(p.state+".new", file); err != nil {
		p.t.Fatal(err)
	}
}

// leases says what is left of them on the disk.
func (p *place) leases() (text string) {
	p.t.Helper()
	dir := openState(p.t, p.state)
	defer dir.close()
	s, damaged, err := dir.load()
	if damaged != nil || err != nil {
		p.t.Fatal(damaged, err)
	}
	for _, i := range s.instances {
		if i.Ready {
			text += "ready "
		} else {
			text += "suspect "
		}
	}
	return text
}

// running is a control plane that runs.
type running struct {
	t       *testing.T
	address string
	out     *lines
	log     *lines
	stop    func()
}

// start runs a control plane until stop is called, which later ones with the
// same place may need.
func (p *place) start() *running {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: p.t, out: new(lines), log: new(lines)}
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{Manifests: p.manifests, Listen: p.listen, State: p.state, Out: r.out, Log: r.log})
	}()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				p.t.Errorf("ended with %v", err)
			}
		case <-time.After(patience):
			p.t.Error("does not end")
		}
	}
	p.t.Cleanup(r.stop)
	eventually(p.t, r.log, func() bool {
		select {
		case err := <-ended:
			p.t.Fatalf("ended with %v", err)
		default:
		}
		_, address, found := strings.Cut(r.out.String(), "FAIRLEAD_REGISTRY=")
		r.address = strings.TrimSpace(address)
		return found
	})
	p.listen = r.address // the next one is found at the same place
	return r
}

// eventually waits until something is so.
func eventually(t *testing.T, log fmt.Stringer, so func() bool) {
	t.Helper()
	ticker, giveUp := time.NewTicker(5*time.Millisecond), time.NewTimer(patience)
	defer ticker.Stop()
	defer giveUp.Stop()
	for !so() {
		select {
		case <-ticker.C:
		case <-giveUp.C:
			t.Fatalf("it never came; the control plane said:\n%s", log)
		}
	}
}

func (r *running) runtime() *rpcruntime.Runtime {
	r.t.Helper()
	rt, err := rpcruntime.New(rpcruntime.WithRegistry(r.address))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { closeRuntime(r.t, rt) })
	return rt
}

func closeRuntime(t *testing.T, rt *rpcruntime.Runtime) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := rt.Close(ctx); err != nil {
		t.Error(err)
	}
}

type mulArgs struct{ A, B int }
type mulReply struct{ C int }

// instance runs an arith server that joins the service. drain ends it as SIGTERM
// would.
func (r *running) instance() (address string, drain func()) {
	r.t.Helper()
	rt := r.runtime()
	srv := rt.NewServer(rpcruntime.Service("default/arith"), rpcruntime.Advertise(""))
	rpcruntime.Handle(srv, "Arith.Mul", func(_ context.Context, a *mulArgs) (*mulReply, error) { return &mulReply{a.A * a.B}, nil })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, ln) }()
	done := false
	drain = func() {
		if done {
			return
		}
		done = true
		cancel()
		if err := <-served; err != nil {
			r.t.Error(err)
		}
	}
	r.t.Cleanup(drain)
	return ln.Addr().String(), drain
}

func timeoutOf(c *rpcruntime.Client) time.Duration {
	s := c.Snapshot()
	if s == nil {
		return 0
	}
	return s.Effective("Arith.Mul").Timeout
}

func ready(c *rpcruntime.Client) int {
	n := 0
	if s := c.Snapshot(); s != nil {
		for i := range s.Endpoints {
			if s.Endpoints[i].State == policy.Ready {
				n++
			}
		}
	}
	return n
}

func mul(t *testing.T, c *rpcruntime.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if reply, err := rpcruntime.Call[mulReply](ctx, c, "Arith.Mul", &mulArgs{6, 7}, rpcruntime.WaitForService()); err != nil || reply.C != 42 {
		t.Errorf("6 * 7 = %v, %v", reply, err)
	}
}

func TestFromAManifestToACall(t *testing.T) {
	p := newPlace(t)
	p.write("service.yaml", serviceManifest)
	p.write("policy.yaml", policyManifest("3s"))
	r := p.start()
	first, _ := r.instance()
	_, drain := r.instance()
	client := r.runtime().NewClient("arith")

	eventually(t, r.log, func() bool { return ready(client) == 2 && timeoutOf(client) == 3*time.Second })
	mul(t, client)

	p.write("policy.yaml", policyManifest("4s"))
	eventually(t, r.log, func() bool { return timeoutOf(client) == 4*time.Second })

	p.write("policy.yaml", policyManifest("never"))
	eventually(t, r.log, func() bool { return strings.Contains(r.log.String(), "policy.yaml:6: spec.timeout") })
	p.write("service.yaml", serviceManifest+"  - {name: Arith.Add}\n") // others change meanwhile
	eventually(t, r.log, func() bool { return len(client.Snapshot().Methods.Declared) == 2 })
	if got := timeoutOf(client); got != 4*time.Second {
		t.Errorf("a broken policy made the timeout %s", got)
	}
	p.write("policy.yaml", policyManifest("5s"))
	eventually(t, r.log, func() bool { return timeoutOf(client) == 5*time.Second })

	drain()
	eventually(t, r.log, func() bool {
		s := client.Snapshot()
		return len(s.Endpoints) == 1 && s.Endpoints[0].Addresses[0] == first
	})
	mul(t, client)
}

func TestRestartUnderClients(t *testing.T) {
	p := newPlace(t)
	p.write("service.yaml", serviceManifest)
	p.write("policy.yaml", policyManifest("3s"))
	r := p.start()
	r.instance()
	client := r.runtime().NewClient("arith")
	eventually(t, r.log, func() bool { return ready(client) == 1 })
	held := client.Snapshot()

	r.stop()
	mul(t, client) // it keeps what it has
	if left := p.leases(); left != "ready " {
		t.Errorf("leases left behind: %s", left)
	}

	r = p.start()
	mul(t, client)
	newcomer := r.runtime().NewClient("arith") // comes before the instance is back, mostly
	mul(t, newcomer)
	p.write("policy.yaml", policyManifest("4s"))
	eventually(t, r.log, func() bool { return timeoutOf(client) == 4*time.Second && timeoutOf(newcomer) == 4*time.Second })
	if now := client.Snapshot(); now.Epoch != held.Epoch || now.AsOf.Behind(held.AsOf) {
		t.Errorf("epoch %q, asOf %v after the restart; %q, %v before", now.Epoch, now.AsOf, held.Epoch, held.AsOf)
	}
	if ready(client) != 1 {
		t.Errorf("endpoints after the restart: %+v", client.Snapshot().Endpoints)
	}
}

func TestUnknownServiceNamesTheRegistryAndWhatIsNear(t *testing.T) {
	p := newPlace(t)
	p.write("service.yaml", serviceManifest)
	r := p.start()
	_, err := rpcruntime.Call[mulReply](t.Context(), r.runtime().NewClient("airth"), "Arith.Mul", nil)
	if status.CodeOf(err) != status.NotFound || !strings.Contains(err.Error(), r.address) || !strings.Contains(err.Error(), `"default/arith"`) {
		t.Errorf("got %v", err)
	}
}

func TestAddressesThatOthersCanReach(t *testing.T) {
	p := newPlace(t)
	for _, listen := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:80"} {
		var usage *UsageError
		err := Run(t.Context(), Config{Manifests: p.manifests, Listen: listen, State: p.state, Out: new(lines), Log: new(lines)})
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), "--insecure-bind") {
			t.Errorf("%s: %v", listen, err)
		}
	}
	for _, listen := range []string{"127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", "no such host:1"} {
		var usage *UsageError
		err := Run(t.Context(), Config{Manifests: p.manifests, Listen: listen, State: p.state, Out: new(lines), Log: new(lines)})
		if !errors.As(err, &usage) {
			t.Errorf("%s: %v", listen, err)
		}
	}
	for listen, loopback := range map[string]bool{"127.0.0.1:0": true, "localhost:0": true, "[::1]:0": true, "127.9.9.9:1": true, ":0": false, "0.0.0.0:0": false} {
		if _, got, err := resolve(t.Context(), listen, true); err != nil || got != loopback {
			t.Errorf("%s: loopback %t, %v", listen, got, err)
		}
	}
}

func TestInsecureBindServesAndWarns(t *testing.T) {
	p := newPlace(t)
	out, log := new(lines), new(lines)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{Manifests: p.manifests, Listen: "0.0.0.0:0", State: p.state, InsecureBind: true, Out: out, Log: log})
	}()
	eventually(t, log, func() bool { return strings.Contains(out.String(), "FAIRLEAD_REGISTRY=127.0.0.1:") })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "warning: 0.0.0.0:0 is reachable") {
		t.Errorf("no warning:\n%s", log)
	}
}

func TestWhatKeepsItFromServing(t *testing.T) {
	p := newPlace(t)
	p.write("service.yaml", serviceManifest)
	r := p.start()
	run := func(c Config) error {
		c.Out, c.Log = new(lines), new(lines)
		return Run(t.Context(), c)
	}
	var inUse *InUseError
	if err := run(Config{Manifests: p.manifests, Listen: "127.0.0.1:0", State: p.state}); !errors.As(err, &inUse) {
		t.Errorf("two with one state: %v", err)
	}
	if err := run(Config{Manifests: p.manifests, Listen: r.address, State: t.TempDir()}); err == nil || !strings.Contains(err.Error(), r.address) {
		t.Errorf("two at one address: %v", err)
	}
	var usage *UsageError
	if err := run(Config{Manifests: filepath.Join(p.manifests, "nowhere"), Listen: "127.0.0.1:0", State: t.TempDir()}); !errors.As(err, &usage) {
		t.Errorf("no manifests: %v", err)
	}
}
