// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/codec"
)

func TestDumpCommandLinesThatAreWrong(t *testing.T) {
	for args, want := range map[string]string{
		"dump":                               "name a capture",
		"dump a b":                           `"b" is one argument too many`,
		"dump /no/such/file":                 "/no/such/file",
		"dump dump_test.go":                  "not a capture",
		"dump .":                             "directory",
		"dump a --listen :1":                 "exclude each other",
		"dump --listen :1":                   "belong together",
		"dump --to a:1":                      "belong together",
		"dump --listen 1 --to a:1":           `--listen "1" is not HOST:PORT`,
		"dump --listen :0 --to a":            `--to "a" is not HOST:PORT`,
		"dump --listen :0 --to a:1 --port 2": "--port chooses from a capture",
		"dump a --port 0":                    "--port 0",
		"dump a --port 65536":                "--port 65536",
		"dump a --max-payload 0":             "--max-payload 0",
		"dump a --max-payload 131073":        "--max-payload 131073",
		"dump a -o yaml":                     `--output "yaml" is none of text, json`,
	} {
		t.Run(args, func(t *testing.T) {
			got := fairlead(t, strings.Fields(args)...)
			got.says(t, exitUsage, "stderr", want, "--help")
			if got.out != "" {
				t.Errorf("stdout has %q", got.out)
			}
		})
	}
}

// An empty capture is one; so is one from standard input.
func TestDumpReadsFilesAndStandardInput(t *testing.T) {
	capture := "\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x01\x00\x00\x00"
	file := filepath.Join(t.TempDir(), "empty.pcap")
	write(t, file, capture)
	fairlead(t, "dump", file).says(t, exitOK, "stderr", "fairlead dump: 0 packets")
	fairleadWith(t, capture, "dump", "-").says(t, exitOK, "stderr", "fairlead dump: 0 packets")
	fairleadWith(t, capture+"\x00", "dump", "-").says(t, exitUsage, "stderr", "not a capture")
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// A client calls a server through the proxy, both of them Fairlead's: every frame
// between them is there, down to the announcement, and SIGINT ends it in order.
func TestDumpBetweenClientAndServer(t *testing.T) {
	with := func(key, value string) context.Context {
		return rpcruntime.WithMetadata(t.Context(), rpcruntime.Metadata{key: value})
	}
	address := serveArith(t, newRuntime(t, rpcruntime.WithoutRegistry()))
	for _, output := range []string{"text", "json"} {
		p := startProgram(t, "dump", "--listen", "127.0.0.1:0", "--to", address, "-v", "-o", output)
		listening := ""
		eventually(t, p.said, func() bool {
			_, after, found := strings.Cut(p.errOut.String(), "fairlead dump: listening at ")
			listening, _, _ = strings.Cut(after, ",")
			return found
		})
		client := newRuntime(t, rpcruntime.WithoutRegistry()).NewClient("arith", rpcruntime.Endpoints(listening), rpcruntime.WithCodec(codec.TypeMsgPack))
		reply, err := rpcruntime.Call[mulReply](with("who", "us"), client, "Arith.Mul", &mulArgs{6, 7})
		if err != nil || reply.C != 42 {
			t.Fatal(reply, err)
		}
		_, err = rpcruntime.Call[mulReply](with("refuse", "this"), client, "Arith.Mul", &mulArgs{})
		if err == nil {
			t.Fatal("it was not refused")
		}
		eventually(t, p.said, func() bool { return strings.Contains(p.out.String(), "refused: this") })
		if err := p.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(); err != nil {
			t.Errorf("it ended with %v\n%s", err, p.said())
		}
		texts := []string{
			"> " + address + " request seq=", " Arith.Mul msgpack bytes=", `    who = "us"`, `    __fl = "1;`, `    msgpack: {"A":6,"B":7}`,
			"< " + address + " control seq=0 __fl.hello raw to=", " Arith.Mul msgpack ok bytes=", `    msgpack: {"C":42}`, " took=",
			" error code=ResourceExhausted bytes=", `"refused: this"`,
		}
		if output == "json" {
			texts = []string{`"kind":"request"`, `"payload":"{\"A\":6,\"B\":7}"`, `"code":"ResourceExhausted"`}
			for line := range strings.Lines(p.out.String()) {
				if !json.Valid([]byte(line)) {
					t.Errorf("not an object: %s", line)
				}
			}
		}
		for _, text := range texts {
			if !strings.Contains(p.out.String(), text) {
				t.Errorf("%q is not in\n%s", text, p.out.String())
			}
		}
		if !strings.Contains(p.errOut.String(), "1 connections (1 rpcx, 0 TLS)") {
			t.Error(p.errOut.String())
		}
	}
}
