// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package micro

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
)

// beServer serves calls until its input ends, with everything as it is by
// default:
//
//	says   ready ADDRESS CERTIFICATE
//	memory memory RESIDENT CONNECTIONS
func beServer(ctx context.Context, overTLS bool, lines *bufio.Scanner, out io.Writer) (err error) {
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		return fmt.Errorf("runtime: %w", err)
	}
	var opts []rpcruntime.ServerOption
	certificate := "-"
	if overTLS {
		cert, err := newCertificate()
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		opts = append(opts, rpcruntime.ServerTLS(&tls.Config{Certificates: []tls.Certificate{cert}}))
		certificate = base64.StdEncoding.EncodeToString(cert.Certificate[0])
	}
	srv := rt.NewServer(opts...)
	registerEcho(srv)
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	served := make(chan struct{}) // closed when Serve has returned
	go func() {
		defer close(served)
		_ = srv.Serve(ctx, ln) // it ends with the runtime
	}()
	defer func() {
		soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, rt.Close(soon))
		<-served
	}()
	if _, err := fmt.Fprintln(out, "ready", ln.Addr(), certificate); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	for lines.Scan() {
		resident, err := anonymous()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, "memory", resident, rt.Counters().Connections.Load()); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return nil
}

// anonymous is the process's resident memory that is not of files, once nothing
// in it is free.
func anonymous() (int64, error) {
	for range 3 { // stacks shrink with one, pools let go with the second
		runtime.GC()
	}
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("memory of a process: %w", errors.ErrUnsupported)
	}
	if err != nil {
		return 0, fmt.Errorf("memory of a process: %w", err)
	}
	for line := range bytes.Lines(status) {
		value, found := bytes.CutPrefix(line, []byte("RssAnon:"))
		if !found {
			continue
		}
		kilobytes, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(value), []byte(" kB"))), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("memory of a process: %w", err)
		}
		return kilobytes << 10, nil
	}
	return 0, fmt.Errorf("memory of a process: no RssAnon: %w", errors.ErrUnsupported)
}

// newCertificate is one for 127.0.0.1 that signed itself.
func newCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
