package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"kubridge.io/examples/library/internal/pgtest"
	"kubridge.io/examples/library/internal/server"
)

func nothing(string) (string, bool) { return "", false }

func TestFlagsWinOverTheEnvironment(t *testing.T) {
	environment := map[string]string{"LISTEN": "127.0.0.1:1", "DATABASE_URL": "postgres://a/b"}
	look := func(name string) (string, bool) { value, ok := environment[name]; return value, ok }
	var stderr bytes.Buffer
	found, err := parse([]string{"--listen=127.0.0.1:2"}, look, &stderr)
	if err != nil || found.Listen != "127.0.0.1:2" || found.Database != "postgres://a/b" {
		t.Errorf("%+v, %v", found, err)
	}
	found, err = parse(nil, nothing, &stderr)
	if err != nil || found.Listen != ":50051" || found.checkHealth != "" {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestWhereHealthIsAskedFor(t *testing.T) {
	for want, arguments := range map[string][]string{
		":50051":      {"--health-check"},
		":7":          {"--listen", ":7", "--health-check"},
		"127.0.0.1:8": {"--health-check", "127.0.0.1:8"},
		"127.0.0.1:9": {"--health-check=127.0.0.1:9"},
	} {
		found, err := parse(arguments, nothing, &bytes.Buffer{})
		if err != nil || found.checkHealth != want {
			t.Errorf("%v: %q, %v", arguments, found.checkHealth, err)
		}
	}
}

func TestWhatIsWrongWithTheCommandLineIsTold(t *testing.T) {
	for complaint, arguments := range map[string][]string{
		`unknown argument "x"`:     {"x"},
		"is no HOST:PORT":          {"--listen=nowhere"},
		"must be positive":         {"--press-speed=0"},
		"flag provided but not":    {"--unknown"},
		"cannot parse `postgres:/": {"--database-url=postgres://%zz", "--listen=127.0.0.1:0"},
	} {
		var stderr bytes.Buffer
		if code := run(arguments, nothing, &bytes.Buffer{}, &stderr); code == 0 || !strings.Contains(stderr.String(), complaint) {
			t.Errorf("%v: %d, %s", arguments, code, stderr.String())
		}
	}
}

func TestHealthIsAnExitCode(t *testing.T) {
	postgres, err := pgtest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = postgres.Close() }()
	url, err := postgres.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	running, err := server.Start(server.Options{
		Listen: "127.0.0.1:0", Database: url, PressSpeed: 1, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	for checkHealth(running.Addr.String(), &stdout, &stderr) != 0 {
		select {
		case <-ctx.Done():
			t.Fatal(stderr.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	if !strings.HasSuffix(stdout.String(), "SERVING\n") {
		t.Error(stdout.String())
	}
	running.Stop(time.Second)
	stderr.Reset()
	if code := checkHealth(running.Addr.String(), &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "Unavailable") {
		t.Errorf("%d %s", code, stderr.String())
	}
}
