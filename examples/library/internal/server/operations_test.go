package server_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"kubridge.io/examples/library/internal/store"
	"kubridge.io/examples/library/libraryv1"
)

// reprint orders copies of faust, which is added. The operation's name.
func (l *library) reprint(t *testing.T, publisher string, copies int32) string {
	t.Helper()
	l.add(t, publisher, "faust", faust())
	return must[*longrunningpb.Operation](t)(l.ReprintBook(t.Context(), &libraryv1.ReprintBookRequest{
		Name: "publishers/" + publisher + "/books/faust", CopyCount: copies,
	})).GetName()
}

func (l *library) wait(t *testing.T, name string, long time.Duration) *longrunningpb.Operation {
	t.Helper()
	return must[*longrunningpb.Operation](t)(l.operations.WaitOperation(t.Context(), &longrunningpb.WaitOperationRequest{
		Name: name, Timeout: durationpb.New(long),
	}))
}

func metadata(t *testing.T, operation *longrunningpb.Operation) *libraryv1.ReprintBookMetadata {
	t.Helper()
	var found libraryv1.ReprintBookMetadata
	if err := operation.GetMetadata().UnmarshalTo(&found); err != nil {
		t.Fatal(err)
	}
	return &found
}

func TestAReprintAddsCopies(t *testing.T) {
	l := open(t)
	name := l.reprint(t, "insel", 1000)
	ended := l.wait(t, name, patience)
	equal(t, "done", ended.GetDone(), true)
	var book libraryv1.Book
	if err := ended.GetResponse().UnmarshalTo(&book); err != nil {
		t.Fatal(err)
	}
	equal(t, "copies", book.GetCopyCount(), 1001)
	equal(t, "the book itself", l.book(t, faustName).GetEtag(), book.GetEtag())
	equal(t, "printed", metadata(t, ended).GetPrintedCount(), 1000)
	equal(t, "book", metadata(t, ended).GetBook(), faustName)
	equal(t, "end", metadata(t, ended).GetEndTime() != nil, true)
	for _, copies := range []int32{0, -1, 1_000_001} {
		_, err := l.ReprintBook(t.Context(), &libraryv1.ReprintBookRequest{Name: faustName, CopyCount: copies})
		refused(t, err, codes.InvalidArgument)
	}
	_, err := l.ReprintBook(t.Context(), &libraryv1.ReprintBookRequest{Name: "publishers/insel/books/none", CopyCount: 1})
	refused(t, err, codes.NotFound)
}

func TestAWaitEndsWhenTheClientSaysSo(t *testing.T) {
	l := start(t, database(t), 1)
	l.until(t, grpc_health_v1.HealthCheckResponse_SERVING)
	l.publish(t, "insel")
	name := l.reprint(t, "insel", 1_000_000)
	open := l.wait(t, name, 10*time.Millisecond)
	equal(t, "done", open.GetDone(), false)
	equal(t, "no result", open.GetResult() == nil, true)
	_, err := l.operations.DeleteOperation(t.Context(), &longrunningpb.DeleteOperationRequest{Name: name})
	reason, _ := refused(t, err, codes.FailedPrecondition)
	equal(t, "reason", reason, "UNDER_WAY")

	for range 2 {
		if _, err := l.operations.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	ended := l.wait(t, name, patience)
	equal(t, "code", codes.Code(ended.GetError().GetCode()), codes.Canceled)
	equal(t, "copies", l.book(t, faustName).GetCopyCount(), 1)
	if _, err := l.operations.DeleteOperation(t.Context(), &longrunningpb.DeleteOperationRequest{Name: name}); err != nil {
		t.Fatal(err)
	}
	_, err = l.operations.GetOperation(t.Context(), &longrunningpb.GetOperationRequest{Name: name})
	refused(t, err, codes.NotFound)
}

func TestAReprintOfABookThatGoesFails(t *testing.T) {
	l := start(t, database(t), 10)
	l.until(t, grpc_health_v1.HealthCheckResponse_SERVING)
	l.publish(t, "insel")
	name := l.reprint(t, "insel", 5)
	if _, err := l.DeleteBook(t.Context(), &libraryv1.DeleteBookRequest{Name: faustName}); err != nil {
		t.Fatal(err)
	}
	l.add(t, "insel", "faust", faust())
	ended := l.wait(t, name, patience)
	equal(t, "code", codes.Code(ended.GetError().GetCode()), codes.NotFound)
	equal(t, "a new book of that name is another one", l.book(t, faustName).GetCopyCount(), 1)
}

func TestAnotherPressTakesOver(t *testing.T) {
	url := database(t)
	slow := start(t, url, 1)
	slow.until(t, grpc_health_v1.HealthCheckResponse_SERVING)
	slow.publish(t, "insel")
	name := slow.reprint(t, "insel", 1_000_000)
	for metadata(t, slow.wait(t, name, time.Millisecond)).GetPrintedCount() == 0 {
	}
	slow.running.Stop(time.Second)

	fast := start(t, url, 10_000_000)
	fast.until(t, grpc_health_v1.HealthCheckResponse_SERVING)
	ended := fast.wait(t, name, patience)
	equal(t, "done", ended.GetDone(), true)
	equal(t, "copies", fast.book(t, faustName).GetCopyCount(), 1_000_001)
}

func TestAPressThatDiedIsReplaced(t *testing.T) {
	url := database(t)
	dead := must[*store.Store](t)(store.Open(t.Context(), url))
	t.Cleanup(dead.Close)
	if err := dead.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	must[*libraryv1.Publisher](t)(dead.AddPublisher(t.Context(), "insel", &libraryv1.Publisher{DisplayName: "Insel"}))
	book := must[*libraryv1.Book](t)(dead.AddBook(t.Context(), store.BookKey{Publisher: "insel", Book: "faust"}, faust()))
	ordered := must[store.Reprint](t)(dead.AddReprint(t.Context(), book, 10))
	const lease = 500 * time.Millisecond
	taken := must[store.Reprint](t)(dead.TakeReprint(t.Context(), lease))
	equal(t, "taken", taken.ID, ordered.ID)
	if _, err := dead.TakeReprint(t.Context(), lease); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("nobody else may take it: %v", err)
	}
	living := start(t, url, 1000)
	living.until(t, grpc_health_v1.HealthCheckResponse_SERVING)
	ended := living.wait(t, "operations/"+ordered.ID.String(), patience)
	equal(t, "done", ended.GetDone(), true)
	equal(t, "copies, printed once", living.book(t, faustName).GetCopyCount(), 11)
}

func TestWhatHasNotEndedIsListedFirst(t *testing.T) {
	url := database(t)
	l := start(t, url, 1)
	l.until(t, grpc_health_v1.HealthCheckResponse_SERVING)
	l.publish(t, "insel")
	var ended []string
	for range 3 {
		name := must[*longrunningpb.Operation](t)(l.ReprintBook(t.Context(), &libraryv1.ReprintBookRequest{
			Name: l.add(t, "insel", "", faust()).GetName(), CopyCount: 1_000_000,
		})).GetName()
		must[*emptypb.Empty](t)(l.operations.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: name}))
		ended = append(ended, name)
	}
	open := l.reprint(t, "insel", 1_000_000)
	slices.Sort(ended)
	var found []string
	for token := ""; ; {
		page := must[*longrunningpb.ListOperationsResponse](t)(l.operations.ListOperations(t.Context(),
			&longrunningpb.ListOperationsRequest{PageSize: 1, PageToken: token}))
		found = append(found, page.GetOperations()[0].GetName())
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if want := append([]string{open}, ended...); !slices.Equal(found, want) {
		t.Errorf("%v, not %v", found, want)
	}
	kept := must[*store.Store](t)(store.Open(t.Context(), url))
	t.Cleanup(kept.Close)
	if err := kept.Expire(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	equal(t, "they are kept for a while", len(must[[]store.Reprint](t)(kept.Reprints(t.Context(), store.Page{Limit: 9}))), 4)
	if err := kept.Expire(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	equal(t, "then what has ended goes", len(must[[]store.Reprint](t)(kept.Reprints(t.Context(), store.Page{Limit: 9}))), 1)
}

func TestOperationsAreListed(t *testing.T) {
	l := open(t)
	var last string
	for i := range 3 {
		publisher := fmt.Sprintf("p%d", i)
		l.publish(t, publisher)
		last = l.reprint(t, publisher, 10)
		l.wait(t, last, patience)
	}
	list := func(filter, token string) *longrunningpb.ListOperationsResponse {
		return must[*longrunningpb.ListOperationsResponse](t)(l.operations.ListOperations(t.Context(),
			&longrunningpb.ListOperationsRequest{Name: "operations", Filter: filter, PageSize: 2, PageToken: token}))
	}
	first := list("", "")
	equal(t, "first page", len(first.GetOperations()), 2)
	equal(t, "second page", len(list("", first.GetNextPageToken()).GetOperations()), 1)
	equal(t, "open", len(list("done = false", "").GetOperations()), 0)
	found := list(`done = true AND metadata.book = "publishers/p2/books/faust"`, "").GetOperations()
	if len(found) != 1 || found[0].GetName() != last {
		t.Errorf("%v", found)
	}
	for _, name := range []string{"operations/x", "x", "operations/AAAAAAAA-0000-4000-8000-000000000000", ""} {
		_, err := l.operations.GetOperation(t.Context(), &longrunningpb.GetOperationRequest{Name: name})
		refused(t, err, codes.InvalidArgument)
	}
	_, err := l.operations.ListOperations(t.Context(), &longrunningpb.ListOperationsRequest{Name: "publishers/p0"})
	refused(t, err, codes.InvalidArgument)
}
