package server_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"kubridge.io/examples/library/internal/pgtest"
	"kubridge.io/examples/library/internal/server"
	"kubridge.io/examples/library/libraryv1"
)

// How long anything may take.
const patience = 30 * time.Second

var postgres *pgtest.Server

func TestMain(m *testing.M) {
	os.Exit(func() int {
		started, err := pgtest.Start(context.Background())
		if err != nil {
			slog.Error("no PostgreSQL to test with", "error", err)
			return 1
		}
		postgres = started
		defer func() { _ = postgres.Close() }()
		return m.Run()
	}())
}

// library is a server on a database of its own, and its clients.
type library struct {
	libraryv1.LibraryServiceClient
	operations longrunningpb.OperationsClient
	health     grpc_health_v1.HealthClient
	running    *server.Running
}

func database(t *testing.T) string {
	t.Helper()
	url, err := postgres.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return url
}

func start(t *testing.T, url string, speed int) *library {
	t.Helper()
	running, err := server.Start(server.Options{
		Listen: "127.0.0.1:0", Database: url, PressSpeed: speed, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	connection, err := grpc.NewClient(running.Addr.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = connection.Close()
		running.Stop(time.Second)
	})
	return &library{
		libraryv1.NewLibraryServiceClient(connection), longrunningpb.NewOperationsClient(connection),
		grpc_health_v1.NewHealthClient(connection), running,
	}
}

// until waits for what health says.
func (l *library) until(t *testing.T, want grpc_health_v1.HealthCheckResponse_ServingStatus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watch, err := l.health.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	for err == nil {
		var answer *grpc_health_v1.HealthCheckResponse
		if answer, err = watch.Recv(); err == nil && answer.GetStatus() == want {
			return
		}
	}
	t.Fatalf("it never says %s: %v", want, err)
}

// open is a library with one publisher, insel.
func open(t *testing.T) *library {
	t.Helper()
	l := start(t, database(t), 1_000_000)
	l.until(t, grpc_health_v1.HealthCheckResponse_SERVING)
	l.publish(t, "insel")
	return l
}

func (l *library) publish(t *testing.T, id string) *libraryv1.Publisher {
	t.Helper()
	added, err := l.CreatePublisher(t.Context(), &libraryv1.CreatePublisherRequest{
		PublisherId: id, Publisher: &libraryv1.Publisher{DisplayName: "Verlag " + id, RegionCode: "DE"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func (l *library) add(t *testing.T, publisher, id string, book *libraryv1.Book) *libraryv1.Book {
	t.Helper()
	added, err := l.CreateBook(t.Context(), &libraryv1.CreateBookRequest{
		Parent: "publishers/" + publisher, BookId: id, Book: book,
	})
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func mask(paths ...string) *fieldmaskpb.FieldMask {
	return &fieldmaskpb.FieldMask{Paths: paths}
}

// refused fails unless an error has this code; the reason of its ErrorInfo, and its field violations.
func refused(t *testing.T, err error, code codes.Code) (string, map[string]string) {
	t.Helper()
	if status.Code(err) != code {
		t.Fatalf("%s is expected: %v", code, err)
	}
	reason, fields := "", map[string]string{}
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			reason = detail.GetReason()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				fields[violation.GetField()] = violation.GetReason()
			}
		}
	}
	if reason == "" {
		t.Fatalf("every error has an ErrorInfo (AIP-193): %v", err)
	}
	return reason, fields
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, not %v", what, got, want)
	}
}

func TestADatabaseMayBeAwayAtTheStartAndLater(t *testing.T) {
	own := must[*pgtest.Server](t)(pgtest.Start(t.Context()))
	t.Cleanup(func() { _ = own.Close() })
	url := must[string](t)(own.Database(t.Context()))
	if err := own.Stop(); err != nil {
		t.Fatal(err)
	}

	l := start(t, url, 1000)
	l.until(t, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	_, err := l.ListPublishers(t.Context(), &libraryv1.ListPublishersRequest{})
	reason, _ := refused(t, err, codes.Unavailable)
	equal(t, "reason", reason, "DATABASE_AWAY")

	if err := own.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.until(t, grpc_health_v1.HealthCheckResponse_SERVING)
	l.publish(t, "insel")

	if err := own.Stop(); err != nil {
		t.Fatal(err)
	}
	l.until(t, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	_, err = l.CreatePublisher(t.Context(), &libraryv1.CreatePublisherRequest{
		Publisher: &libraryv1.Publisher{DisplayName: "Nobody"},
	})
	refused(t, err, codes.Unavailable)
	retry := false
	for _, detail := range status.Convert(err).Details() {
		if _, ok := detail.(*errdetails.RetryInfo); ok {
			retry = true
		}
	}
	equal(t, "a write that was never sent may be tried again", retry, true)

	if err := own.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.until(t, grpc_health_v1.HealthCheckResponse_SERVING)
	must[*libraryv1.Publisher](t)(l.GetPublisher(t.Context(), &libraryv1.GetPublisherRequest{Name: "publishers/insel"}))
}

func TestServersThatStartTogetherMigrateOnce(t *testing.T) {
	url := database(t)
	var servers []*library
	for range 4 {
		servers = append(servers, start(t, url, 1000))
	}
	for i, l := range servers {
		l.until(t, grpc_health_v1.HealthCheckResponse_SERVING)
		l.publish(t, string(rune('a'+i)))
	}
	all := must[*libraryv1.ListPublishersResponse](t)(
		servers[0].ListPublishers(t.Context(), &libraryv1.ListPublishersRequest{}))
	equal(t, "publishers", len(all.GetPublishers()), len(servers))
}

func TestStopLetsCallsFinish(t *testing.T) {
	l := open(t)
	waiting := make(chan error, 1)
	ordered := l.reprint(t, "insel", 1_000_000)
	go func() {
		_, err := l.operations.WaitOperation(context.Background(), &longrunningpb.WaitOperationRequest{Name: ordered})
		waiting <- err
	}()
	l.running.Stop(patience)
	if err := <-waiting; err != nil && !errors.Is(err, context.Canceled) && status.Code(err) != codes.Unavailable {
		t.Errorf("a call in flight is answered, or was never taken: %v", err)
	}
}
