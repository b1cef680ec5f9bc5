// Package server runs the library: gRPC, the press, and what is known of the database.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"kubridge.io/examples/library/internal/service"
	"kubridge.io/examples/library/internal/store"
	"kubridge.io/examples/library/libraryv1"
)

// How often the database is asked whether it is there, and how long it may take to answer.
const (
	pingInterval = time.Second
	pingTimeout  = 3 * time.Second
)

// Options say how to run.
type Options struct {
	// Listen is HOST:PORT; port 0 takes any.
	Listen string
	// Database is the URL of a PostgreSQL database.
	Database string
	// PressSpeed is how many copies are printed a second.
	PressSpeed int
	Log        *slog.Logger
}

// Running is a server under way.
type Running struct {
	// Addr is where it listens.
	Addr   net.Addr
	grpc   *grpc.Server
	health *health.Server
	store  *store.Store
	// Ends what runs beside the calls.
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	log    *slog.Logger
}

// Start listens at once. Health says SERVING as soon as the database is there and up to date.
func Start(options Options) (*Running, error) {
	ctx, cancel := context.WithCancel(context.Background())
	kept, err := store.Open(ctx, options.Database)
	if err != nil {
		cancel()
		return nil, err
	}
	listener, err := net.Listen("tcp", options.Listen)
	if err != nil {
		cancel()
		kept.Close()
		return nil, err
	}
	running := &Running{
		Addr:   listener.Addr(),
		grpc:   grpc.NewServer(grpc.UnaryInterceptor(service.Faults(options.Log))),
		health: health.NewServer(),
		store:  kept,
		cancel: cancel,
		log:    options.Log,
	}
	libraryv1.RegisterLibraryServiceServer(running.grpc, service.New(kept))
	longrunningpb.RegisterOperationsServer(running.grpc, service.NewOperations(kept))
	grpc_health_v1.RegisterHealthServer(running.grpc, running.health)
	reflection.Register(running.grpc)
	running.say(grpc_health_v1.HealthCheckResponse_NOT_SERVING)

	press := service.NewPress(kept, options.PressSpeed, options.Log)
	running.tasks.Go(func() { running.watchDatabase(ctx, press) })
	running.tasks.Go(func() {
		if err := running.grpc.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			options.Log.Error("it no longer serves", "error", err)
		}
	})
	return running, nil
}

// Stop lets calls in flight finish, but not for longer than grace.
func (r *Running) Stop(grace time.Duration) {
	r.health.Shutdown()
	late := time.AfterFunc(grace, r.grpc.Stop)
	defer late.Stop()
	// Whoever waits for an operation would wait for longer than that.
	r.grpc.GracefulStop()
	r.cancel()
	r.tasks.Wait()
	r.store.Close()
}

// watchDatabase migrates as soon as the database is there, starts the press, and tells by health whether it still is.
func (r *Running) watchDatabase(ctx context.Context, press *service.Press) {
	migrated, away := false, false
	for {
		err := r.look(ctx, migrated)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if !migrated || away {
				r.log.Info("the database is there")
				r.say(grpc_health_v1.HealthCheckResponse_SERVING)
			}
			if !migrated {
				r.tasks.Go(func() { press.Run(ctx) })
			}
			migrated, away = true, false
		} else if !away {
			r.log.Warn("the database is away; it is tried again", "error", err)
			r.say(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
			away = true
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pingInterval):
		}
	}
}

func (r *Running) look(ctx context.Context, migrated bool) error {
	if !migrated {
		return r.store.Migrate(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return r.store.Ping(ctx)
}

func (r *Running) say(status grpc_health_v1.HealthCheckResponse_ServingStatus) {
	for _, name := range []string{"", libraryv1.LibraryService_ServiceDesc.ServiceName} {
		r.health.SetServingStatus(name, status)
	}
}
