package service

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"kubridge.io/examples/library/internal/store"
)

const domain = "library.example.com"

// fault is an error with details (AIP-193). reason is for machines: UPPER_SNAKE_CASE.
func fault(code codes.Code, reason, message string, metadata map[string]string, details ...protoadapt.MessageV1) error {
	info := &errdetails.ErrorInfo{Reason: reason, Domain: domain, Metadata: metadata}
	made, err := status.New(code, message).WithDetails(append([]protoadapt.MessageV1{info}, details...)...)
	if err != nil {
		return status.Error(code, message)
	}
	return made.Err()
}

// about says what became of a request for a resource of the store.
func about(err error, kind, name string) error {
	metadata := map[string]string{"resource": name}
	resource := &errdetails.ResourceInfo{ResourceType: domain + "/" + kind, ResourceName: name}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fault(codes.NotFound, "NOT_FOUND", name+" does not exist", metadata, resource)
	case errors.Is(err, store.ErrNoParent):
		return fault(codes.NotFound, "PARENT_NOT_FOUND", "the parent of "+name+" does not exist", metadata, resource)
	case errors.Is(err, store.ErrExists):
		return fault(codes.AlreadyExists, "ALREADY_EXISTS", name+" exists", metadata, resource)
	case errors.Is(err, store.ErrChanged):
		return fault(codes.Aborted, "ETAG_MISMATCH", name+" is no longer in the state of that etag: read it again", metadata, resource)
	case errors.Is(err, store.ErrHasBooks):
		return fault(codes.FailedPrecondition, "HAS_BOOKS", name+" still has books: remove them, or remove it by force", metadata,
			resource, &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{{
				Type: "HAS_BOOKS", Subject: name, Description: "it still has books",
			}}})
	}
	return err
}

// violation is a field of a request that is wrong. reason is for machines.
type violation struct {
	field, reason, description string
}

// invalid is about all of them at once; nil: there are none.
func invalid(violations ...violation) error {
	if len(violations) == 0 {
		return nil
	}
	request := &errdetails.BadRequest{}
	for _, found := range violations {
		request.FieldViolations = append(request.FieldViolations, &errdetails.BadRequest_FieldViolation{
			Field: found.field, Reason: found.reason, Description: found.description,
		})
	}
	first := violations[0]
	return fault(codes.InvalidArgument, "INVALID_FIELD", first.field+": "+first.description, nil, request)
}

// Faults turns whatever else goes wrong into a status. What the client is told says nothing of our insides.
func Faults(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		begin := time.Now()
		answer, err := handler(ctx, request)
		err = told(err)
		level := slog.LevelDebug
		if code := status.Code(err); code == codes.Internal || code == codes.Unavailable {
			level = slog.LevelWarn
		}
		log.Log(ctx, level, "call", "method", info.FullMethod, "code", status.Code(err).String(), "took", time.Since(begin))
		if inner := errors.Unwrap(err); inner != nil {
			log.Warn("failed", "method", info.FullMethod, "error", inner)
		}
		return answer, err
	}
}

// hidden is a status for the client, and an error for the log.
type hidden struct {
	*status.Status
	inner error
}

func (h hidden) Error() string              { return h.Message() }
func (h hidden) GRPCStatus() *status.Status { return h.Status }
func (h hidden) Unwrap() error              { return h.inner }

func told(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	var connect *pgconn.ConnectError
	var refused *pgconn.PgError
	switch {
	case pgconn.SafeToRetry(err) || errors.As(err, &connect):
		// Nothing was sent: that may be tried again, whatever it was.
		return unavailable(err, &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	case errors.As(err, &refused) && refused.Code[:2] != "57" && refused.Code[:2] != "53":
		return hidden{status.New(codes.Internal, "the library has a fault"), err}
	}
	// The connection broke, the database stops (57) or has no room (53): who knows what became of a write.
	return unavailable(err)
}

func unavailable(err error, details ...protoadapt.MessageV1) error {
	made := fault(codes.Unavailable, "DATABASE_AWAY", "the database is away: try again later", nil, details...)
	return hidden{status.Convert(made), err}
}
