// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command protogen turns .proto files into Go, without a protoc on the
// machine: protocompile parses them and protoc-gen-go, pinned in this module,
// writes the code. It is run in this module, where `go tool` finds the plugin:
//
//	GOWORK=off go -C hack/tools run ./protogen -root ../.. -out ../.. examples/x/x.proto
//
// Paths of .proto files, and of their imports, are relative to -root; each
// output lands beside its source, below -out.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	root := flag.String("root", ".", "folder that .proto paths and imports are relative to")
	out := flag.String("out", ".", "folder below which the Go files are written")
	flag.Parse()
	if err := run(context.Background(), *root, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root, out string, files []string) error {
	if len(files) == 0 {
		return errors.New("no .proto file was named")
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{root}}),
		SourceInfoMode: protocompile.SourceInfoStandard, // comments are carried over
	}
	parsed, err := compiler.Compile(ctx, files...)
	if err != nil {
		return err
	}
	resp, err := plugin(ctx, request(files, parsed))
	if err != nil {
		return err
	}
	for _, f := range resp.GetFile() {
		path := filepath.Join(out, filepath.FromSlash(f.GetName()))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// request asks for code for files. A plugin wants every file that they
// import, too, and each after its own imports.
func request(files []string, parsed linker.Files) *pluginpb.CodeGeneratorRequest {
	req := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: files,
		Parameter:      proto.String("paths=source_relative"),
	}
	seen := make(map[string]bool)
	var visit func(protoreflect.FileDescriptor)
	visit = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			visit(f.Imports().Get(i).FileDescriptor)
		}
		req.ProtoFile = append(req.ProtoFile, protoutil.ProtoFromFileDescriptor(f))
	}
	for _, f := range parsed {
		visit(f)
	}
	return req
}

func plugin(ctx context.Context, req *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	in, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	var answer bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "tool", "protoc-gen-go")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &answer, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("protoc-gen-go: %w", err)
	}
	resp := new(pluginpb.CodeGeneratorResponse)
	if err := proto.Unmarshal(answer.Bytes(), resp); err != nil {
		return nil, fmt.Errorf("protoc-gen-go answered with something else than a response: %w", err)
	}
	if resp.Error != nil {
		return nil, fmt.Errorf("protoc-gen-go: %s", resp.GetError())
	}
	return resp, nil
}
