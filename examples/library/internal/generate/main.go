// Command generate compiles the protos of this module into Go. It needs neither protoc nor a network: the
// google/api and google/longrunning protos that they import come from the Go packages that are linked in.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	_ "cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	_ "google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/pluginpb"
)

const (
	source = "example/library/v1/library.proto"
	module = "kubridge.io/examples/library"
)

// The plugins, as go.mod pins them (`go tool NAME`).
var plugins = []string{"protoc-gen-go", "protoc-gen-go-grpc"}

func main() {
	root := flag.String("root", ".", "the module's directory")
	out := flag.String("out", ".", "where the generated files go: DIR/libraryv1")
	flag.Parse()
	if err := generate(context.Background(), *root, *out); err != nil {
		log.Fatal(err)
	}
}

func generate(ctx context.Context, root, out string) error {
	request, err := compile(ctx, filepath.Join(root, "proto"))
	if err != nil {
		return err
	}
	input, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	for _, plugin := range plugins {
		command := exec.CommandContext(ctx, "go", "tool", plugin)
		command.Dir = root
		command.Stdin = bytes.NewReader(input)
		command.Stderr = os.Stderr
		output, err := command.Output()
		if err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
		var response pluginpb.CodeGeneratorResponse
		if err := proto.Unmarshal(output, &response); err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
		if response.Error != nil {
			return fmt.Errorf("%s: %s", plugin, response.GetError())
		}
		for _, file := range response.GetFile() {
			path := filepath.Join(out, file.GetName())
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte(file.GetContent()), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// compile makes what protoc would send to its plugins.
func compile(ctx context.Context, dir string) (*pluginpb.CodeGeneratorRequest, error) {
	linked := protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
		if file, err := protoregistry.GlobalFiles.FindFileByPath(path); err == nil && !strings.HasPrefix(path, "example/") {
			return protocompile.SearchResult{Desc: file}, nil
		}
		return protocompile.SearchResult{}, protoregistry.NotFound
	})
	compiler := protocompile.Compiler{
		Resolver: protocompile.CompositeResolver{
			&protocompile.SourceResolver{ImportPaths: []string{dir}},
			linked,
		},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(ctx, source)
	if err != nil {
		return nil, err
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{source},
		Parameter:      proto.String("module=" + module),
	}
	add(request, map[string]bool{}, files[0])
	return request, nil
}

// add appends a file behind those that it imports.
func add(request *pluginpb.CodeGeneratorRequest, seen map[string]bool, file protoreflect.FileDescriptor) {
	if seen[file.Path()] {
		return
	}
	seen[file.Path()] = true
	for i := range file.Imports().Len() {
		add(request, seen, file.Imports().Get(i).FileDescriptor)
	}
	request.ProtoFile = append(request.ProtoFile, descriptor(file))
}

// descriptor is what the compiler made of a file, with its comments, or what a linked package says.
func descriptor(file protoreflect.FileDescriptor) *descriptorpb.FileDescriptorProto {
	if made := protoutil.ProtoFromFileDescriptor(file); made != nil {
		return made
	}
	return protodesc.ToFileDescriptorProto(file)
}
