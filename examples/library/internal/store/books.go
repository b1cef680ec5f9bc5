package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"kubridge.io/examples/library/libraryv1"
)

const bookColumns = "publisher_id, id, uid, title, authors, isbn, format, page_count, shelf_room, shelf_row, " +
	"loan_period_ns, labels, annotations, copy_count, reader, due_time, version, create_time, update_time"

// BookKey says which book.
type BookKey struct {
	Publisher, Book string
}

// Name is the book's.
func (k BookKey) Name() string {
	return PublisherName(k.Publisher) + "/books/" + k.Book
}

func scanBook(row pgx.CollectableRow) (*libraryv1.Book, error) {
	var (
		found            libraryv1.Book
		key              BookKey
		uid              uuid.UUID
		room             *string
		rowNumber        *int32
		loan             *time.Duration
		due              *time.Time
		version          int64
		created, updated time.Time
	)
	err := row.Scan(
		&key.Publisher, &key.Book, &uid, &found.Title, &found.Authors, &found.Isbn, &found.Format, &found.PageCount,
		&room, &rowNumber, &loan, &found.Labels, &found.Annotations, &found.CopyCount, &found.Reader, &due,
		&version, &created, &updated,
	)
	found.Name, found.Uid, found.Etag = key.Name(), uid.String(), etag(version)
	found.CreateTime, found.UpdateTime, found.DueTime = timestamppb.New(created), timestamppb.New(updated), timestamp(due)
	if room != nil {
		found.Shelf = &libraryv1.Book_Shelf{Room: *room}
		if rowNumber != nil {
			found.Shelf.Row = *rowNumber
		}
	}
	if loan != nil {
		found.LoanPeriod = durationpb.New(*loan)
	}
	found.State = libraryv1.Book_AVAILABLE
	if found.Reader != "" {
		found.State = libraryv1.Book_RESERVED
	}
	return &found, err
}

// values are the columns that a client may say.
func values(book *libraryv1.Book) pgx.NamedArgs {
	arguments := pgx.NamedArgs{
		"title": book.GetTitle(), "authors": book.GetAuthors(), "isbn": book.GetIsbn(), "format": int32(book.GetFormat()),
		"page_count": book.GetPageCount(), "shelf_room": nil, "shelf_row": nil, "loan_period_ns": nil,
		"labels": texts(book.GetLabels()), "annotations": texts(book.GetAnnotations()),
	}
	if book.GetAuthors() == nil {
		arguments["authors"] = []string{}
	}
	if shelf := book.GetShelf(); shelf != nil {
		arguments["shelf_room"], arguments["shelf_row"] = shelf.GetRoom(), shelf.GetRow()
	}
	if loan := book.GetLoanPeriod(); loan != nil {
		arguments["loan_period_ns"] = loan.AsDuration().Nanoseconds()
	}
	return arguments
}

// Book reads one. ErrNotFound.
func (s *Store) Book(ctx context.Context, key BookKey) (*libraryv1.Book, error) {
	rows, err := s.pool.Query(ctx,
		"SELECT "+bookColumns+" FROM books WHERE publisher_id = $1 AND id = $2", key.Publisher, key.Book)
	return one(rows, err, scanBook)
}

// Books lists a page of those of a publisher; empty: of all. ErrNoParent.
func (s *Store) Books(ctx context.Context, publisher string, page Page) ([]*libraryv1.Book, error) {
	first, arguments := "true", []any(nil)
	if publisher != "" {
		first, arguments = "publisher_id = $1", []any{publisher}
	}
	where, arguments := page.where([]string{"publisher_id", "id"}, first, arguments)
	rows, err := s.pool.Query(ctx, "SELECT "+bookColumns+" FROM books"+where, arguments...)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, scanBook)
	if err == nil && len(found) == 0 && publisher != "" {
		if _, err := s.Publisher(ctx, publisher); errors.Is(err, ErrNotFound) {
			return nil, ErrNoParent
		}
	}
	return found, err
}

// AddBook adds one. ErrExists, ErrNoParent.
func (s *Store) AddBook(ctx context.Context, key BookKey, new *libraryv1.Book) (*libraryv1.Book, error) {
	arguments := values(new)
	arguments["publisher_id"], arguments["id"], arguments["uid"] = key.Publisher, key.Book, uuid.New()
	var added *libraryv1.Book
	err := s.inTransaction(ctx, func(tx pgx.Tx) error {
		if err := countBooks(ctx, tx, key.Publisher, 1); err != nil {
			return err
		}
		rows, err := tx.Query(ctx,
			`INSERT INTO books (publisher_id, id, uid, title, authors, isbn, format, page_count, shelf_room, shelf_row,
			loan_period_ns, labels, annotations) VALUES (@publisher_id, @id, @uid, @title, @authors, @isbn, @format,
			@page_count, @shelf_room, @shelf_row, @loan_period_ns, @labels, @annotations) RETURNING `+bookColumns, arguments)
		added, err = one(rows, err, scanBook)
		return err
	})
	if violates(err, uniqueViolation) {
		return nil, ErrExists
	}
	return added, err
}

// ReplaceBook writes what a client may say of one, over the state that new.Etag names. ErrChanged: it is in another
// one, or gone.
func (s *Store) ReplaceBook(ctx context.Context, key BookKey, new *libraryv1.Book) (*libraryv1.Book, error) {
	version, err := versionOf(new.GetEtag())
	if err != nil {
		return nil, err
	}
	arguments := values(new)
	arguments["publisher_id"], arguments["id"], arguments["version"] = key.Publisher, key.Book, version
	rows, err := s.pool.Query(ctx,
		`UPDATE books SET title = @title, authors = @authors, format = @format, page_count = @page_count,
		shelf_room = @shelf_room, shelf_row = @shelf_row, loan_period_ns = @loan_period_ns, labels = @labels,
		annotations = @annotations, version = nextval('versions'), update_time = now()
		WHERE publisher_id = @publisher_id AND id = @id AND version = @version RETURNING `+bookColumns, arguments)
	return changed(one(rows, err, scanBook))
}

// SetReader writes who has reserved a book (empty: nobody) and until when, over the state that etag names. ErrChanged.
func (s *Store) SetReader(ctx context.Context, key BookKey, etag, reader string, due *time.Time) (*libraryv1.Book, error) {
	version, err := versionOf(etag)
	if err != nil {
		return nil, err
	}
	rows, err := s.pool.Query(ctx,
		`UPDATE books SET reader = $4, due_time = $5, version = nextval('versions'), update_time = now()
		WHERE publisher_id = $1 AND id = $2 AND version = $3 RETURNING `+bookColumns,
		key.Publisher, key.Book, version, reader, due)
	return changed(one(rows, err, scanBook))
}

// RemoveBook removes the one in that state; etag empty: in any. ErrNotFound, ErrChanged.
func (s *Store) RemoveBook(ctx context.Context, key BookKey, etag string) error {
	return s.inTransaction(ctx, func(tx pgx.Tx) error {
		// The publisher first, as everywhere: nobody waits in a circle.
		if err := countBooks(ctx, tx, key.Publisher, -1); errors.Is(err, ErrNoParent) {
			return ErrNotFound
		} else if err != nil {
			return err
		}
		rows, err := tx.Query(ctx,
			"DELETE FROM books WHERE publisher_id = $1 AND id = $2 RETURNING version", key.Publisher, key.Book)
		version, err := one(rows, err, pgx.RowTo[int64])
		if err != nil {
			return err
		}
		return expect(version, etag)
	})
}

// countBooks is for a book that comes or goes. ErrNoParent.
func countBooks(ctx context.Context, tx pgx.Tx, publisher string, more int) error {
	counted, err := tx.Exec(ctx,
		"UPDATE publishers SET book_count = book_count + $2, version = nextval('versions') WHERE id = $1", publisher, more)
	if err == nil && counted.RowsAffected() == 0 {
		return ErrNoParent
	}
	return err
}

func changed(book *libraryv1.Book, err error) (*libraryv1.Book, error) {
	if errors.Is(err, ErrNotFound) {
		return nil, ErrChanged
	}
	return book, err
}
