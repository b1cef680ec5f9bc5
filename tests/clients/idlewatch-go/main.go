// A gRPC server with the defaults of grpc-go, for the test of idle watches.
//
//	idlewatch-go DIR...   the directories of idlewatch.proto and of what it imports
//
// It says "listening ADDRESS". For each line on standard input one Pulse happens: every watch is told, and it says
// "sent to N of M": the watches that are open, and all that were ever opened. It ends with its standard input.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
	"sync"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	added  = 1
	synced = 5
)

// pulses has no code generated for it: the .proto files are compiled when it starts.
type pulses struct {
	file linker.File

	mu      sync.Mutex
	version int
	watches map[chan proto.Message]struct{}
	opened  int
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: idlewatch-go DIR...")
	}
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: os.Args[1:]}),
	}
	files, err := compiler.Compile(context.Background(), "idlewatch.proto")
	if err != nil {
		log.Fatal(err)
	}
	p := &pulses{file: files[0], version: 1, watches: map[chan proto.Message]struct{}{}}
	server := grpc.NewServer()
	server.RegisterService(p.describe(), nil)
	grpc_reflection_v1.RegisterServerReflectionServer(server, reflection.NewServerV1(reflection.ServerOptions{
		Services: server, DescriptorResolver: linker.ResolverFromFile(p.file),
	}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening", listener.Addr())
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			open, opened := p.happen()
			fmt.Printf("sent to %d of %d\n", open, opened)
		}
		os.Exit(0)
	}()
	log.Fatal(server.Serve(listener))
}

func (p *pulses) describe() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: string(p.file.Services().ByName("Pulses").FullName()),
		Methods:     []grpc.MethodDesc{{MethodName: "ListPulses", Handler: p.list}},
		Streams:     []grpc.StreamDesc{{StreamName: "WatchPulses", Handler: p.watch, ServerStreams: true}},
	}
}

// happen tells every open watch of a new Pulse.
func (p *pulses) happen() (open, opened int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version++
	object := p.message("Pulse")
	metadata := p.nested(object, "metadata")
	version := strconv.Itoa(p.version)
	set(metadata, "name", protoreflect.ValueOfString("pulse-"+version))
	set(metadata, "resource_version", protoreflect.ValueOfString(version))
	event := p.event(added)
	set(event, "object", protoreflect.ValueOfMessage(object))
	for watch := range p.watches {
		watch <- event
	}
	return len(p.watches), p.opened
}

func (p *pulses) list(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	if err := decode(p.request("ListPulses")); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	answer := p.message("ListPulsesResponse")
	set(p.nested(answer, "metadata"), "resource_version", protoreflect.ValueOfString(strconv.Itoa(p.version)))
	return answer, nil
}

func (p *pulses) watch(_ any, stream grpc.ServerStream) error {
	if err := stream.RecvMsg(p.request("WatchPulses")); err != nil {
		return err
	}
	events := make(chan proto.Message, 16)
	p.mu.Lock()
	p.watches[events] = struct{}{}
	p.opened++
	events <- p.event(synced)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.watches, events)
		p.mu.Unlock()
	}()
	for {
		select {
		case event := <-events:
			if err := stream.SendMsg(event); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (p *pulses) event(kind protoreflect.EnumNumber) *dynamicpb.Message {
	event := p.message("PulseEvent")
	set(event, "type", protoreflect.ValueOfEnum(kind))
	set(event, "resource_version", protoreflect.ValueOfString(strconv.Itoa(p.version)))
	return event
}

func (p *pulses) request(method protoreflect.Name) *dynamicpb.Message {
	return dynamicpb.NewMessage(p.file.Services().ByName("Pulses").Methods().ByName(method).Input())
}

func (p *pulses) message(name protoreflect.Name) *dynamicpb.Message {
	return dynamicpb.NewMessage(p.file.Messages().ByName(name))
}

func (p *pulses) nested(of *dynamicpb.Message, name protoreflect.Name) protoreflect.Message {
	return of.Mutable(of.Descriptor().Fields().ByName(name)).Message()
}

func set(message protoreflect.Message, name protoreflect.Name, value protoreflect.Value) {
	message.Set(message.Descriptor().Fields().ByName(name), value)
}
