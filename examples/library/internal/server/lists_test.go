package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"kubridge.io/examples/library/libraryv1"
)

func names(t *testing.T, l *library, request *libraryv1.ListBooksRequest) []string {
	t.Helper()
	var found []string
	for {
		page := must[*libraryv1.ListBooksResponse](t)(l.ListBooks(t.Context(), request))
		if request.PageSize > 0 && len(page.GetBooks()) > int(request.PageSize) {
			t.Fatalf("%d are on a page of %d", len(page.GetBooks()), request.PageSize)
		}
		for _, book := range page.GetBooks() {
			found = append(found, strings.TrimPrefix(book.GetName(), "publishers/"))
		}
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return found
		}
	}
}

func TestPagesHaveEverythingOnceAndInOrder(t *testing.T) {
	l := open(t)
	l.publish(t, "rowohlt")
	for i := range 7 {
		l.add(t, "insel", fmt.Sprintf("b%d", i), faust())
	}
	l.add(t, "rowohlt", "Z", faust())
	l.add(t, "rowohlt", "a", faust())
	all := []string{
		"insel/books/b0", "insel/books/b1", "insel/books/b2", "insel/books/b3", "insel/books/b4", "insel/books/b5",
		"insel/books/b6", "rowohlt/books/Z", "rowohlt/books/a",
	}
	for _, size := range []int32{0, 1, 2, 3, 9, 5000} {
		found := names(t, l, &libraryv1.ListBooksRequest{Parent: "publishers/-", PageSize: size})
		if !slices.Equal(found, all) {
			t.Errorf("pages of %d: %v", size, found)
		}
		if found = names(t, l, &libraryv1.ListBooksRequest{Parent: "publishers/insel", PageSize: size}); !slices.Equal(found, all[:7]) {
			t.Errorf("pages of %d of one publisher: %v", size, found)
		}
	}
	_, err := l.ListBooks(t.Context(), &libraryv1.ListBooksRequest{Parent: "publishers/nobody"})
	refused(t, err, codes.NotFound)
	empty := must[*libraryv1.ListBooksResponse](t)(l.ListBooks(t.Context(), &libraryv1.ListBooksRequest{
		Parent: l.publish(t, "empty").GetName(),
	}))
	equal(t, "books", len(empty.GetBooks()), 0)
}

func TestATokenBelongsToItsRequest(t *testing.T) {
	l := open(t)
	for i := range 3 {
		l.add(t, "insel", fmt.Sprintf("b%d", i), faust())
	}
	first := must[*libraryv1.ListBooksResponse](t)(
		l.ListBooks(t.Context(), &libraryv1.ListBooksRequest{Parent: "publishers/insel", PageSize: 1}))
	for what, request := range map[string]*libraryv1.ListBooksRequest{
		"another parent":  {Parent: "publishers/-", PageToken: first.GetNextPageToken()},
		"another filter":  {Parent: "publishers/insel", Filter: `title = "x"`, PageToken: first.GetNextPageToken()},
		"no token at all": {Parent: "publishers/insel", PageToken: "????"},
		"no JSON":         {Parent: "publishers/insel", PageToken: "AAAA"},
	} {
		_, err := l.ListBooks(t.Context(), request)
		if _, fields := refused(t, err, codes.InvalidArgument); fields["page_token"] != "INVALID_PAGE_TOKEN" {
			t.Errorf("%s: %v", what, err)
		}
	}
	second := must[*libraryv1.ListBooksResponse](t)(l.ListBooks(t.Context(), &libraryv1.ListBooksRequest{
		Parent: "publishers/insel", PageSize: 100, PageToken: first.GetNextPageToken(),
	}))
	equal(t, "the size of a page may change", len(second.GetBooks()), 2)
	_, err := l.ListBooks(t.Context(), &libraryv1.ListBooksRequest{Parent: "publishers/insel", PageSize: -1})
	refused(t, err, codes.InvalidArgument)
}

func TestFilters(t *testing.T) {
	l := open(t)
	l.add(t, "insel", "faust", faust())
	urfaust := faust()
	urfaust.Title, urfaust.PageCount, urfaust.Labels = "Urfaust", 90, map[string]string{"era": "draft", "rare": ""}
	urfaust.Format, urfaust.Authors = libraryv1.Book_HARDCOVER, []string{"Johann Wolfgang Goethe", "An Editor"}
	l.add(t, "insel", "urfaust", urfaust)
	must[*libraryv1.Book](t)(l.ReserveBook(t.Context(), &libraryv1.ReserveBookRequest{
		Name: "publishers/insel/books/urfaust", Reader: "me",
	}))
	for filter, want := range map[string]string{
		``:                                     "faust urfaust",
		`title = "Faust"`:                      "faust",
		`title != "Faust"`:                     "urfaust",
		`title:"AUST"`:                         "faust urfaust",
		`page_count > 100`:                     "faust",
		`page_count <= 90`:                     "urfaust",
		`format = HARDCOVER`:                   "urfaust",
		`format = "PAPERBACK"`:                 "faust",
		`state = RESERVED`:                     "urfaust",
		`NOT state = RESERVED`:                 "faust",
		`labels.era = "draft"`:                 "urfaust",
		`labels.era != "draft"`:                "faust",
		`labels.none = "x"`:                    "",
		`labels:"rare"`:                        "urfaust",
		`authors:"An Editor"`:                  "urfaust",
		`title = "Faust" OR page_count < 100`:  "faust urfaust",
		`title = "Faust" AND page_count < 100`: "",
		`(page_count > 1 copy_count = 1) state = AVAILABLE`: "faust",
		`title = "x'; DROP TABLE books; --"`:                "",
	} {
		found := names(t, l, &libraryv1.ListBooksRequest{Parent: "publishers/insel", Filter: filter, PageSize: 1})
		for i := range found {
			found[i] = strings.TrimPrefix(found[i], "insel/books/")
		}
		equal(t, filter, strings.Join(found, " "), want)
	}
	for _, filter := range []string{`reader = "me"`, `title = `, `title`, `format = VELLUM`, `title = isbn`, `page_count = "x"`, `"x" = title`, `labels = "x"`} {
		_, err := l.ListBooks(t.Context(), &libraryv1.ListBooksRequest{Parent: "publishers/insel", Filter: filter})
		if _, fields := refused(t, err, codes.InvalidArgument); fields["filter"] != "INVALID_FILTER" {
			t.Errorf("%s: %v", filter, err)
		}
	}
}

func TestPublishers(t *testing.T) {
	l := open(t)
	insel := must[*libraryv1.Publisher](t)(l.GetPublisher(t.Context(), &libraryv1.GetPublisherRequest{Name: "publishers/insel"}))
	l.publish(t, "rowohlt")
	page := must[*libraryv1.ListPublishersResponse](t)(
		l.ListPublishers(t.Context(), &libraryv1.ListPublishersRequest{PageSize: 1}))
	equal(t, "first", page.GetPublishers()[0].GetName(), "publishers/insel")
	page = must[*libraryv1.ListPublishersResponse](t)(
		l.ListPublishers(t.Context(), &libraryv1.ListPublishersRequest{PageToken: page.GetNextPageToken()}))
	equal(t, "second", page.GetPublishers()[0].GetName(), "publishers/rowohlt")
	equal(t, "the last page", page.GetNextPageToken(), "")
	filtered := must[*libraryv1.ListPublishersResponse](t)(l.ListPublishers(t.Context(), &libraryv1.ListPublishersRequest{
		Filter: `display_name:"row" AND region_code = "DE"`,
	}))
	equal(t, "filtered", len(filtered.GetPublishers()), 1)

	changed := must[*libraryv1.Publisher](t)(l.UpdatePublisher(t.Context(), &libraryv1.UpdatePublisherRequest{
		Publisher:  &libraryv1.Publisher{Name: insel.GetName(), Website: "https://example.com", Labels: map[string]string{"a": "b"}, Etag: insel.GetEtag()},
		UpdateMask: mask("website", "labels"),
	}))
	equal(t, "website", changed.GetWebsite(), "https://example.com")
	equal(t, "display_name", changed.GetDisplayName(), "Verlag insel")
	_, err := l.UpdatePublisher(t.Context(), &libraryv1.UpdatePublisherRequest{
		Publisher: &libraryv1.Publisher{Name: insel.GetName(), RegionCode: "AT"}, UpdateMask: mask("region_code"),
	})
	_, fields := refused(t, err, codes.InvalidArgument)
	equal(t, "immutable", fields["publisher.region_code"], "IMMUTABLE")
	_, err = l.CreatePublisher(t.Context(), &libraryv1.CreatePublisherRequest{
		PublisherId: "x", Publisher: &libraryv1.Publisher{RegionCode: "de"},
	})
	_, fields = refused(t, err, codes.InvalidArgument)
	equal(t, "required", fields["publisher.display_name"], "REQUIRED")
	equal(t, "region", fields["publisher.region_code"], "INVALID_REGION")
}

func TestAPublisherWithBooksIsOnlyRemovedByForce(t *testing.T) {
	l := open(t)
	l.add(t, "insel", "faust", faust())
	now := must[*libraryv1.Publisher](t)(l.GetPublisher(t.Context(), &libraryv1.GetPublisherRequest{Name: "publishers/insel"}))
	for _, request := range []*libraryv1.DeletePublisherRequest{
		{Name: now.GetName()}, {Name: now.GetName(), Etag: now.GetEtag()}, {Name: now.GetName(), ValidateOnly: true},
	} {
		_, err := l.DeletePublisher(t.Context(), request)
		reason, _ := refused(t, err, codes.FailedPrecondition)
		equal(t, "reason", reason, "HAS_BOOKS")
	}
	_, err := l.DeletePublisher(t.Context(), &libraryv1.DeletePublisherRequest{Name: now.GetName(), Etag: `"0"`, Force: true})
	refused(t, err, codes.Aborted)
	if _, err = l.DeletePublisher(t.Context(), &libraryv1.DeletePublisherRequest{Name: now.GetName(), Force: true}); err != nil {
		t.Fatal(err)
	}
	_, err = l.GetBook(t.Context(), &libraryv1.GetBookRequest{Name: faustName})
	refused(t, err, codes.NotFound)
	_, err = l.DeletePublisher(t.Context(), &libraryv1.DeletePublisherRequest{Name: now.GetName()})
	refused(t, err, codes.NotFound)
	if _, err = l.DeletePublisher(t.Context(), &libraryv1.DeletePublisherRequest{Name: now.GetName(), AllowMissing: true}); err != nil {
		t.Fatal(err)
	}
	added := must[*libraryv1.Publisher](t)(l.UpdatePublisher(t.Context(), &libraryv1.UpdatePublisherRequest{
		Publisher: &libraryv1.Publisher{Name: "publishers/new", DisplayName: "New"}, AllowMissing: true,
	}))
	equal(t, "books", added.GetBookCount(), 0)
}
