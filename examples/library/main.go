// Command library serves a library by gRPC: publishers and books, in PostgreSQL.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"kubridge.io/examples/library/internal/server"
)

//go:generate go run ./internal/generate

const (
	defaultListen   = ":50051"
	defaultDatabase = "postgres://library@localhost:5432/library"
	healthTimeout   = 3 * time.Second
)

func main() {
	os.Exit(run(os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

type settings struct {
	server.Options
	grace time.Duration
	// Asks the server there for its health, and does nothing else.
	checkHealth string
}

// run is the program; its exit code.
func run(arguments []string, environment func(string) (string, bool), stdout, stderr io.Writer) int {
	settings, err := parse(arguments, environment, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	if settings.checkHealth != "" {
		return checkHealth(settings.checkHealth, stdout, stderr)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	settings.Log = slog.New(slog.NewTextHandler(stderr, nil))
	running, err := server.Start(settings.Options)
	if err != nil {
		fmt.Fprintf(stderr, "it does not start: %v\n", err)
		return 1
	}
	fmt.Fprintf(stdout, "listening on %s\n", running.Addr)
	settings.Log.Info("stopping", "signal", (<-signals).String())
	// The second signal aborts.
	go func() { <-signals; os.Exit(1) }()
	running.Stop(settings.grace)
	return 0
}

func parse(arguments []string, environment func(string) (string, bool), stderr io.Writer) (settings, error) {
	otherwise := func(name, value string) string {
		if set, ok := environment(name); ok && set != "" {
			return set
		}
		return value
	}
	var s settings
	health := optional{}
	flags := flag.NewFlagSet("library", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.Listen, "listen", otherwise("LISTEN", defaultListen),
		"`HOST:PORT`; without a host everywhere, port 0 takes any ($LISTEN)")
	flags.StringVar(&s.Database, "database-url", otherwise("DATABASE_URL", defaultDatabase),
		"the `URL` of a PostgreSQL database; the PG* variables of libpq count too ($DATABASE_URL)")
	flags.IntVar(&s.PressSpeed, "press-speed", 1000, "how many `copies` are printed a second")
	flags.DurationVar(&s.grace, "shutdown-grace", 10*time.Second, "how long calls in flight may take to finish")
	flags.Var(&health, "health-check", "ask the server at `ADDR` (or where --listen says) for its health, exit with 0 or 1")
	if err := flags.Parse(arguments); err != nil {
		return s, err
	}
	rest := flags.Args()
	if health.set {
		s.checkHealth = health.value
		// The flag package takes no value after a blank where none must be.
		if s.checkHealth == "" && len(rest) == 1 {
			s.checkHealth, rest = rest[0], nil
		}
		if s.checkHealth == "" {
			s.checkHealth = s.Listen
		}
	}
	if len(rest) > 0 {
		return s, fmt.Errorf("unknown argument %q; see --help", rest[0])
	}
	if s.PressSpeed < 1 {
		return s, fmt.Errorf("--press-speed must be positive")
	}
	for _, address := range []string{s.Listen, s.checkHealth} {
		if _, _, err := net.SplitHostPort(address); address != "" && err != nil {
			return s, fmt.Errorf("%q is no HOST:PORT, such as 127.0.0.1:50051 or :50051", address)
		}
	}
	return s, nil
}

// optional is a flag that needs no value.
type optional struct {
	set   bool
	value string
}

func (o *optional) String() string   { return o.value }
func (o *optional) IsBoolFlag() bool { return true }
func (o *optional) Set(value string) error {
	o.set = true
	if value != "true" {
		o.value = value
	}
	return nil
}

func checkHealth(address string, stdout, stderr io.Writer) int {
	if strings.HasPrefix(address, ":") || strings.HasPrefix(address, "0.0.0.0:") {
		address = "localhost" + address[strings.LastIndex(address, ":"):]
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	defer func() { _ = connection.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	answer, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", address, err)
		return 1
	}
	fmt.Fprintln(stdout, answer.GetStatus())
	if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return 1
	}
	return 0
}
