package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/google/uuid"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"kubridge.io/examples/library/internal/store"
	"kubridge.io/examples/library/libraryv1"
)

const (
	operationKind  = "Operation"
	operationsName = "operations"
	mostCopies     = 1_000_000
	// How often WaitOperation looks. Any replica may be the one that prints.
	waitInterval = 50 * time.Millisecond
	// How long it waits where the client does not say.
	usualWait = 30 * time.Second
)

// ReprintBook orders copies. The press prints them.
func (l *Library) ReprintBook(ctx context.Context, r *libraryv1.ReprintBookRequest) (*longrunningpb.Operation, error) {
	key, err := bookKey("name", r.GetName())
	if err != nil {
		return nil, err
	}
	if r.GetCopyCount() < 1 || r.GetCopyCount() > mostCopies {
		return nil, invalid(violation{"copy_count", "OUT_OF_RANGE", fmt.Sprintf("write a number from 1 to %d", mostCopies)})
	}
	book, err := l.store.Book(ctx, key)
	if err != nil {
		return nil, about(err, bookKind, key.Name())
	}
	ordered, err := l.store.AddReprint(ctx, book, r.GetCopyCount())
	if err != nil {
		return nil, err
	}
	return operation(ordered)
}

// Operations is the google.longrunning.Operations service.
type Operations struct {
	longrunningpb.UnimplementedOperationsServer
	store *store.Store
}

// NewOperations serves what is in the store.
func NewOperations(store *store.Store) *Operations {
	return &Operations{store: store}
}

// GetOperation reads one.
func (o *Operations) GetOperation(
	ctx context.Context, r *longrunningpb.GetOperationRequest,
) (*longrunningpb.Operation, error) {
	found, err := o.read(ctx, r.GetName())
	if err != nil {
		return nil, err
	}
	return operation(found)
}

// ListOperations lists a page, the name of whose collection is `operations`.
func (o *Operations) ListOperations(
	ctx context.Context, r *longrunningpb.ListOperationsRequest,
) (*longrunningpb.ListOperationsResponse, error) {
	if name := strings.Trim(r.GetName(), "/"); name != "" && name != operationsName {
		return nil, invalid(violation{"name", "INVALID_NAME", "write " + operationsName})
	}
	page, checksum, err := page(r, store.OperationFields)
	if err != nil {
		return nil, err
	}
	found, err := o.store.Reprints(ctx, page)
	if err != nil {
		return nil, err
	}
	found, next := cut(found, page.Limit, checksum, store.Reprint.Key)
	answer := &longrunningpb.ListOperationsResponse{NextPageToken: next}
	for _, reprint := range found {
		made, err := operation(reprint)
		if err != nil {
			return nil, err
		}
		answer.Operations = append(answer.Operations, made)
	}
	return answer, nil
}

// WaitOperation waits until it has ended, or for as long as the client says.
func (o *Operations) WaitOperation(
	ctx context.Context, r *longrunningpb.WaitOperationRequest,
) (*longrunningpb.Operation, error) {
	wait := usualWait
	if r.GetTimeout() != nil {
		wait = r.GetTimeout().AsDuration()
	}
	end := time.NewTimer(wait)
	defer end.Stop()
	for ended := false; ; {
		found, err := o.read(ctx, r.GetName())
		if err != nil {
			return nil, err
		}
		if found.Done || ended {
			return operation(found)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-end.C:
			ended = true
		case <-time.After(waitInterval):
		}
	}
}

// CancelOperation ends one. One that has ended stays as it is.
func (o *Operations) CancelOperation(
	ctx context.Context, r *longrunningpb.CancelOperationRequest,
) (*emptypb.Empty, error) {
	id, err := operationID(r.GetName())
	if err == nil {
		err = o.store.Cancel(ctx, id)
	}
	if err != nil {
		return nil, about(err, operationKind, r.GetName())
	}
	return &emptypb.Empty{}, nil
}

// DeleteOperation forgets one that has ended.
func (o *Operations) DeleteOperation(
	ctx context.Context, r *longrunningpb.DeleteOperationRequest,
) (*emptypb.Empty, error) {
	id, err := operationID(r.GetName())
	if err == nil {
		err = o.store.Forget(ctx, id)
	}
	if errors.Is(err, store.ErrChanged) {
		return nil, fault(codes.FailedPrecondition, "UNDER_WAY", r.GetName()+" has not ended: cancel it first", nil)
	}
	if err != nil {
		return nil, about(err, operationKind, r.GetName())
	}
	return &emptypb.Empty{}, nil
}

func (o *Operations) read(ctx context.Context, name string) (store.Reprint, error) {
	id, err := operationID(name)
	if err != nil {
		return store.Reprint{}, err
	}
	found, err := o.store.Reprint(ctx, id)
	if err != nil {
		return found, about(err, operationKind, name)
	}
	return found, nil
}

func operationID(name string) (uuid.UUID, error) {
	text, ok := strings.CutPrefix(name, operationsName+"/")
	id, err := uuid.Parse(text)
	if err != nil || !ok || id.String() != text {
		return id, invalid(violation{"name", "INVALID_NAME", fmt.Sprintf("%q is no name: write operations/{uuid}", name)})
	}
	return id, nil
}

// operation is a reprint as google.longrunning has it.
func operation(reprint store.Reprint) (*longrunningpb.Operation, error) {
	metadata := &libraryv1.ReprintBookMetadata{
		Book: reprint.Book, CopyCount: reprint.Ordered, PrintedCount: reprint.Printed,
		CreateTime: timestamppb.New(reprint.Created),
	}
	if reprint.Ended != nil {
		metadata.EndTime = timestamppb.New(*reprint.Ended)
	}
	packed, err := anypb.New(metadata)
	if err != nil {
		return nil, err
	}
	made := &longrunningpb.Operation{Name: operationsName + "/" + reprint.ID.String(), Metadata: packed, Done: reprint.Done}
	switch {
	case !reprint.Done:
	case reprint.Code != codes.OK:
		made.Result = &longrunningpb.Operation_Error{Error: &rpcstatus.Status{
			Code: int32(reprint.Code), Message: reprint.Message,
		}}
	default:
		book := &libraryv1.Book{}
		if err := proto.Unmarshal(reprint.Response, book); err != nil {
			return nil, err
		}
		response, err := anypb.New(book)
		if err != nil {
			return nil, err
		}
		made.Result = &longrunningpb.Operation_Response{Response: response}
	}
	return made, nil
}
