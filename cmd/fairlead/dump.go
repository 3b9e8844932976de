// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/cmd/fairlead/internal/dump"
)

// dumpFlags are those of `fairlead dump`.
type dumpFlags struct {
	listen, to string
	ports      []uint
	verbose    bool
	output     string
	maxPayload int
}

func newDumpCommand() *cobra.Command {
	var f dumpFlags
	cmd := &cobra.Command{
		Use:   "dump FILE | dump --listen HOST:PORT --to HOST:PORT [flags]",
		Short: "Decodes traffic of rpcx and Fairlead, one line for each frame",
		Long: `Dump reads a capture that tcpdump or Wireshark wrote (pcap or pcapng, gzipped or
not; "-" reads it from standard input), or stands between a client and a server
as a proxy, and prints a line for each frame:

  TIME CLIENT > SERVER KIND seq=N PATH.METHOD CODEC bytes=N meta=N payload=N

The client is always on the left; < is what the server sends. A response has its
status, and how long after its request it came. With -v metadata and payloads
follow; tokens are never shown.

In a file, connections are found by their first bytes, or by --port. Segments
may be out of order, sent again, or missing: what is missing is said, and so is
what was skipped to find the next frame. TLS is named and not decoded.

The proxy changes and delays nothing. What passes faster than it can be printed
is not printed, which is said. SIGINT and SIGTERM end it, and the connections
with it.`,
		Example: `  tcpdump -i any -w arith.pcap tcp port 8972
  fairlead dump arith.pcap -v
  fairlead dump --listen 127.0.0.1:9000 --to 127.0.0.1:8972`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageErrorf("%q is one argument too many: one capture at a time", args[1])
			}
			return nil
		},
		RunE: f.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "", "be a proxy that listens at this address, host:port; port 0 takes a free one")
	flags.StringVar(&f.to, "to", "", "where the proxy passes connections on to, host:port")
	flags.UintSliceVar(&f.ports, "port", nil, "look at this TCP port only, whatever is spoken there; may be given more than once")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "print metadata and payloads, too")
	flags.StringVarP(&f.output, "output", "o", "text", "text, or json: an object for each frame, on a line")
	flags.IntVar(&f.maxPayload, "max-payload", dump.DefaultMaxPayload, "how many bytes of a payload are printed with -v, from 1 to 131072")
	return cmd
}

// options checks the flags.
func (f *dumpFlags) options(cmd *cobra.Command, args []string) (dump.Options, error) {
	opts := dump.Options{
		Out: cmd.OutOrStdout(), Log: prefixed{cmd.ErrOrStderr()},
		Verbose: f.verbose, JSON: f.output == "json", MaxPayload: f.maxPayload,
	}
	for _, port := range f.ports {
		if port == 0 || port > 65535 {
			return opts, usageErrorf("--port %d is none: ports are from 1 to 65535", port)
		}
		opts.Ports = append(opts.Ports, uint16(port))
	}
	if f.maxPayload < 1 || f.maxPayload > dump.LargestPayload {
		return opts, usageErrorf("--max-payload %d is not from 1 to %d", f.maxPayload, dump.LargestPayload)
	}
	file, proxy := len(args) > 0, f.listen != "" || f.to != ""
	switch {
	case file && proxy:
		return opts, usageErrorf("a file, and --listen and --to, exclude each other: give one")
	case !file && !proxy:
		return opts, usageErrorf("what is to be decoded? name a capture, or be a proxy by --listen and --to")
	case !file && (f.listen == "" || f.to == ""):
		return opts, usageErrorf("--listen and --to belong together: where the proxy listens, and where it passes connections on to")
	case proxy && len(f.ports) > 0:
		return opts, usageErrorf("--port chooses from a capture; a proxy decodes all that passes")
	}
	return opts, oneOf("output", f.output, "text", "json")
}

func (f *dumpFlags) run(cmd *cobra.Command, args []string) error {
	opts, err := f.options(cmd, args)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		for flag, address := range map[string]string{"--listen": f.listen, "--to": f.to} {
			if _, _, err := net.SplitHostPort(address); err != nil {
				return usageErrorf("%s %q is not HOST:PORT: %w", flag, address, err)
			}
		}
		return dump.Proxy(cmd.Context(), f.listen, f.to, opts)
	}
	in := cmd.InOrStdin()
	if opts.Live = args[0] == "-"; !opts.Live {
		file, err := os.Open(args[0])
		if err != nil {
			return &usageError{err}
		}
		defer func() { _ = file.Close() }() // it was only read
		in = file
	}
	err = dump.File(cmd.Context(), in, opts)
	var broken *dump.FileError
	if errors.As(err, &broken) && broken.Packets == 0 {
		return usageErrorf("%s: %w", args[0], err)
	}
	return err
}

// prefixed says who speaks on standard error.
type prefixed struct{ io.Writer }

func (p prefixed) Write(line []byte) (int, error) {
	if _, err := p.Writer.Write(append([]byte("fairlead dump: "), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
