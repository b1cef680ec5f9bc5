package server_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"kubridge.io/examples/library/libraryv1"
)

func faust() *libraryv1.Book {
	return &libraryv1.Book{
		Title: "Faust", Authors: []string{"Johann Wolfgang Goethe"}, Isbn: "9783458317012",
		Format: libraryv1.Book_PAPERBACK, PageCount: 245, Shelf: &libraryv1.Book_Shelf{Room: "A", Row: 3},
		LoanPeriod: durationpb.New(48 * time.Hour), Labels: map[string]string{"era": "classic"},
		Annotations: map[string]string{"example.com/note": "read it"},
	}
}

const faustName = "publishers/insel/books/faust"

func (l *library) book(t *testing.T, name string) *libraryv1.Book {
	t.Helper()
	return must[*libraryv1.Book](t)(l.GetBook(t.Context(), &libraryv1.GetBookRequest{Name: name}))
}

func TestWhatIsAddedIsThere(t *testing.T) {
	l := open(t)
	sent := faust()
	sent.State, sent.CopyCount, sent.Name, sent.Reader = libraryv1.Book_RESERVED, 9, "publishers/x/books/y", "me"
	added := l.add(t, "insel", "faust", sent)
	if !proto.Equal(added, l.book(t, faustName)) {
		t.Errorf("%v is answered, %v is there", added, l.book(t, faustName))
	}
	equal(t, "name", added.GetName(), faustName)
	equal(t, "state, which is the library's", added.GetState(), libraryv1.Book_AVAILABLE)
	equal(t, "copies", added.GetCopyCount(), 1)
	equal(t, "reader", added.GetReader(), "")
	equal(t, "uid", len(added.GetUid()), 36)
	equal(t, "quoted etag", added.GetEtag()[:1], `"`)
	want := faust()
	want.Name, want.Uid, want.Etag = added.Name, added.Uid, added.Etag
	want.CreateTime, want.UpdateTime = added.CreateTime, added.UpdateTime
	want.State, want.CopyCount = libraryv1.Book_AVAILABLE, 1
	if !proto.Equal(added, want) {
		t.Errorf("%v, not %v", added, want)
	}
	publisher := must[*libraryv1.Publisher](t)(
		l.GetPublisher(t.Context(), &libraryv1.GetPublisherRequest{Name: "publishers/insel"}))
	equal(t, "book_count", publisher.GetBookCount(), 1)
}

func TestAnIdIsMadeWhereNoneIsGiven(t *testing.T) {
	l := open(t)
	added := l.add(t, "insel", "", faust())
	if !strings.HasPrefix(added.GetName(), "publishers/insel/books/") || len(added.GetName()) < 50 {
		t.Errorf("%q", added.GetName())
	}
	odd := l.add(t, "insel", "Faust_I.2", faust())
	equal(t, "name", odd.GetName(), "publishers/insel/books/Faust_I.2")
}

func TestWhatIsWrongIsToldAllAtOnce(t *testing.T) {
	l := open(t)
	_, err := l.CreateBook(t.Context(), &libraryv1.CreateBookRequest{
		Parent: "publishers/insel", BookId: "no/id",
		Book: &libraryv1.Book{Isbn: "12", PageCount: -1, Format: 77, Shelf: &libraryv1.Book_Shelf{Row: 1}, LoanPeriod: durationpb.New(-1)},
	})
	_, fields := refused(t, err, codes.InvalidArgument)
	want := map[string]string{
		"book_id": "INVALID_ID", "book.title": "REQUIRED", "book.isbn": "INVALID_ISBN", "book.page_count": "OUT_OF_RANGE",
		"book.format": "INVALID_FORMAT", "book.shelf.room": "REQUIRED", "book.loan_period": "OUT_OF_RANGE",
	}
	if fmt.Sprint(fields) != fmt.Sprint(want) {
		t.Errorf("%v, not %v", fields, want)
	}
	for _, name := range []string{"", "books/x", "publishers/insel", "publishers/insel/books/a b", "publishers/-/books/x"} {
		_, err := l.GetBook(t.Context(), &libraryv1.GetBookRequest{Name: name})
		if _, fields := refused(t, err, codes.InvalidArgument); fields["name"] == "" {
			t.Errorf("%q: the field is named: %v", name, err)
		}
	}
	_, err = l.CreateBook(t.Context(), &libraryv1.CreateBookRequest{Parent: "publishers/nobody", BookId: "x", Book: faust()})
	reason, _ := refused(t, err, codes.NotFound)
	equal(t, "reason", reason, "PARENT_NOT_FOUND")
	l.add(t, "insel", "faust", faust())
	_, err = l.CreateBook(t.Context(), &libraryv1.CreateBookRequest{Parent: "publishers/insel", BookId: "faust", Book: faust()})
	refused(t, err, codes.AlreadyExists)
	_, err = l.GetBook(t.Context(), &libraryv1.GetBookRequest{Name: "publishers/insel/books/none"})
	refused(t, err, codes.NotFound)
}

func TestAMaskSaysWhatIsChanged(t *testing.T) {
	l := open(t)
	l.add(t, "insel", "faust", faust())
	change := func(book *libraryv1.Book, paths ...string) (*libraryv1.Book, error) {
		book.Name = faustName
		request := &libraryv1.UpdateBookRequest{Book: book}
		if paths != nil {
			request.UpdateMask = mask(paths...)
		}
		return l.UpdateBook(t.Context(), request)
	}
	one := must[*libraryv1.Book](t)(change(&libraryv1.Book{Title: "Faust I", PageCount: 9}, "title"))
	equal(t, "title", one.GetTitle(), "Faust I")
	equal(t, "pages", one.GetPageCount(), 245)

	two := must[*libraryv1.Book](t)(change(&libraryv1.Book{Shelf: &libraryv1.Book_Shelf{Row: 7}}, "shelf.row", "labels"))
	equal(t, "row", two.GetShelf().GetRow(), 7)
	equal(t, "room", two.GetShelf().GetRoom(), "A")
	equal(t, "labels", len(two.GetLabels()), 0)

	three := must[*libraryv1.Book](t)(change(&libraryv1.Book{PageCount: 300}))
	equal(t, "without a mask what is set is changed", three.GetPageCount(), 300)
	equal(t, "title", three.GetTitle(), "Faust I")

	all := faust()
	all.Annotations = nil
	four := must[*libraryv1.Book](t)(change(all, "*"))
	equal(t, "annotations", len(four.GetAnnotations()), 0)
	equal(t, "title", four.GetTitle(), "Faust")
	equal(t, "uid", four.GetUid(), one.GetUid())

	same := must[*libraryv1.Book](t)(change(&libraryv1.Book{Title: "Faust"}, "title"))
	equal(t, "nothing changed, the etag neither", same.GetEtag(), four.GetEtag())
	ignored := must[*libraryv1.Book](t)(change(&libraryv1.Book{State: libraryv1.Book_RESERVED, CopyCount: 7}, "state", "copy_count"))
	equal(t, "copies are the library's", ignored.GetCopyCount(), 1)

	_, err := change(&libraryv1.Book{}, "titel")
	_, fields := refused(t, err, codes.InvalidArgument)
	equal(t, "a field that there is not", fields["update_mask"], "INVALID_MASK")
	_, err = change(&libraryv1.Book{Isbn: "9783458317029"}, "isbn")
	_, fields = refused(t, err, codes.InvalidArgument)
	equal(t, "an immutable field", fields["book.isbn"], "IMMUTABLE")
	must[*libraryv1.Book](t)(change(&libraryv1.Book{Isbn: faust().Isbn}, "isbn"))
	_, err = change(&libraryv1.Book{}, "title")
	_, fields = refused(t, err, codes.InvalidArgument)
	equal(t, "a required field", fields["book.title"], "REQUIRED")
}

func TestAnEtagGuardsEveryChange(t *testing.T) {
	l := open(t)
	old := l.add(t, "insel", "faust", faust())
	changed := must[*libraryv1.Book](t)(l.UpdateBook(t.Context(), &libraryv1.UpdateBookRequest{
		Book: &libraryv1.Book{Name: faustName, Title: "Faust I", Etag: old.GetEtag()}, UpdateMask: mask("title"),
	}))
	for _, etag := range []string{old.GetEtag(), "nonsense", `"zzzz"`} {
		_, err := l.UpdateBook(t.Context(), &libraryv1.UpdateBookRequest{
			Book: &libraryv1.Book{Name: faustName, Title: "Urfaust", Etag: etag}, UpdateMask: mask("title"),
		})
		refused(t, err, codes.Aborted)
		_, err = l.DeleteBook(t.Context(), &libraryv1.DeleteBookRequest{Name: faustName, Etag: etag})
		refused(t, err, codes.Aborted)
		_, err = l.ReserveBook(t.Context(), &libraryv1.ReserveBookRequest{Name: faustName, Reader: "me", Etag: etag})
		refused(t, err, codes.Aborted)
	}
	if !proto.Equal(l.book(t, faustName), changed) {
		t.Error("what was refused changed nothing")
	}
	if _, err := l.DeleteBook(t.Context(), &libraryv1.DeleteBookRequest{Name: faustName, Etag: changed.GetEtag()}); err != nil {
		t.Fatal(err)
	}
	again := l.add(t, "insel", "faust", faust())
	if again.GetEtag() == old.GetEtag() || again.GetUid() == old.GetUid() {
		t.Error("a book of the same name is another one")
	}
}

func TestNoChangeIsLost(t *testing.T) {
	l := open(t)
	l.add(t, "insel", "faust", faust())
	var writers sync.WaitGroup
	for i := range 6 {
		writers.Go(func() {
			field := fmt.Sprintf("w%d", i)
			for {
				seen, err := l.GetBook(context.Background(), &libraryv1.GetBookRequest{Name: faustName})
				if err != nil {
					t.Error(err)
					return
				}
				seen.Labels[field] = "was here"
				_, err = l.UpdateBook(context.Background(), &libraryv1.UpdateBookRequest{Book: seen, UpdateMask: mask("labels")})
				if err == nil {
					return
				}
				refused(t, err, codes.Aborted)
			}
		})
	}
	writers.Wait()
	equal(t, "labels", len(l.book(t, faustName).GetLabels()), 7)
}

func TestValidateOnlyWritesNothing(t *testing.T) {
	l := open(t)
	shown := must[*libraryv1.Book](t)(l.CreateBook(t.Context(), &libraryv1.CreateBookRequest{
		Parent: "publishers/insel", BookId: "faust", Book: faust(), ValidateOnly: true,
	}))
	equal(t, "name", shown.GetName(), faustName)
	_, err := l.GetBook(t.Context(), &libraryv1.GetBookRequest{Name: faustName})
	refused(t, err, codes.NotFound)
	_, err = l.CreateBook(t.Context(), &libraryv1.CreateBookRequest{
		Parent: "publishers/nobody", BookId: "faust", Book: faust(), ValidateOnly: true,
	})
	refused(t, err, codes.NotFound)

	added := l.add(t, "insel", "faust", faust())
	_, err = l.CreateBook(t.Context(), &libraryv1.CreateBookRequest{
		Parent: "publishers/insel", BookId: "faust", Book: faust(), ValidateOnly: true,
	})
	refused(t, err, codes.AlreadyExists)
	shown = must[*libraryv1.Book](t)(l.UpdateBook(t.Context(), &libraryv1.UpdateBookRequest{
		Book: &libraryv1.Book{Name: faustName, Title: "Other"}, UpdateMask: mask("title"), ValidateOnly: true,
	}))
	equal(t, "title", shown.GetTitle(), "Other")
	for _, etag := range []string{"", added.GetEtag()} {
		_, err = l.DeleteBook(t.Context(), &libraryv1.DeleteBookRequest{Name: faustName, Etag: etag, ValidateOnly: true})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = l.DeleteBook(t.Context(), &libraryv1.DeleteBookRequest{Name: faustName, Etag: `"1"`, ValidateOnly: true})
	refused(t, err, codes.Aborted)
	if !proto.Equal(l.book(t, faustName), added) {
		t.Error("it is as it was")
	}
}

func TestAllowMissing(t *testing.T) {
	l := open(t)
	book := faust()
	book.Name = faustName
	_, err := l.UpdateBook(t.Context(), &libraryv1.UpdateBookRequest{Book: book})
	refused(t, err, codes.NotFound)
	added := must[*libraryv1.Book](t)(l.UpdateBook(t.Context(), &libraryv1.UpdateBookRequest{Book: book, AllowMissing: true}))
	equal(t, "title", added.GetTitle(), "Faust")
	if _, err := l.DeleteBook(t.Context(), &libraryv1.DeleteBookRequest{Name: faustName}); err != nil {
		t.Fatal(err)
	}
	_, err = l.DeleteBook(t.Context(), &libraryv1.DeleteBookRequest{Name: faustName})
	refused(t, err, codes.NotFound)
	if _, err := l.DeleteBook(t.Context(), &libraryv1.DeleteBookRequest{Name: faustName, AllowMissing: true}); err != nil {
		t.Fatal(err)
	}
}

func TestABookIsReservedAndReturned(t *testing.T) {
	l := open(t)
	l.add(t, "insel", "faust", faust())
	reserve := func(reader string) (*libraryv1.Book, error) {
		return l.ReserveBook(t.Context(), &libraryv1.ReserveBookRequest{Name: faustName, Reader: reader})
	}
	reserved := must[*libraryv1.Book](t)(reserve("gretchen"))
	equal(t, "state", reserved.GetState(), libraryv1.Book_RESERVED)
	equal(t, "reader", reserved.GetReader(), "gretchen")
	if due := time.Until(reserved.GetDueTime().AsTime()); due < 47*time.Hour || due > 49*time.Hour {
		t.Errorf("it is due after its loan period: %v", due)
	}
	again := must[*libraryv1.Book](t)(reserve("gretchen"))
	equal(t, "etag", again.GetEtag(), reserved.GetEtag())
	_, err := reserve("mephisto")
	reason, _ := refused(t, err, codes.FailedPrecondition)
	equal(t, "reason", reason, "RESERVED")
	_, err = reserve("")
	refused(t, err, codes.InvalidArgument)
	returned := must[*libraryv1.Book](t)(l.ReturnBook(t.Context(), &libraryv1.ReturnBookRequest{Name: faustName}))
	equal(t, "state", returned.GetState(), libraryv1.Book_AVAILABLE)
	equal(t, "due", returned.GetDueTime() == nil, true)
	_, err = l.ReserveBook(t.Context(), &libraryv1.ReserveBookRequest{Name: "publishers/insel/books/none", Reader: "x"})
	refused(t, err, codes.NotFound)
}
