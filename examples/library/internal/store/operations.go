package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"kubridge.io/examples/library/libraryv1"
)

// Reprint is an operation that prints copies of a book.
type Reprint struct {
	ID      uuid.UUID
	Book    string
	BookUID uuid.UUID
	// Ordered and Printed are numbers of copies.
	Ordered, Printed int32
	Done             bool
	// Code is OK unless it failed.
	Code    codes.Code
	Message string
	// Response is the book afterwards, in protobuf.
	Response []byte
	Created  time.Time
	Ended    *time.Time
}

const reprintColumns = "id, book, book_uid, copy_count, printed_count, done, error_code, error_message, response, create_time, end_time"

func scanReprint(row pgx.CollectableRow) (Reprint, error) {
	var found Reprint
	err := row.Scan(
		&found.ID, &found.Book, &found.BookUID, &found.Ordered, &found.Printed, &found.Done, &found.Code, &found.Message,
		&found.Response, &found.Created, &found.Ended,
	)
	return found, err
}

// Reprint reads one. ErrNotFound.
func (s *Store) Reprint(ctx context.Context, id uuid.UUID) (Reprint, error) {
	rows, err := s.pool.Query(ctx, "SELECT "+reprintColumns+" FROM operations WHERE id = $1", id)
	return one(rows, err, scanReprint)
}

// Reprints lists a page: first those that have not ended.
func (s *Store) Reprints(ctx context.Context, page Page) ([]Reprint, error) {
	where, arguments := page.where([]string{"done::int::text", "id::text"}, "true", nil)
	rows, err := s.pool.Query(ctx, "SELECT "+reprintColumns+" FROM operations"+where, arguments...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanReprint)
}

// Key is its place in a list.
func (r Reprint) Key() []string {
	if r.Done {
		return []string{"1", r.ID.String()}
	}
	return []string{"0", r.ID.String()}
}

// AddReprint orders copies of a book. Some press takes the order.
func (s *Store) AddReprint(ctx context.Context, book *libraryv1.Book, copies int32) (Reprint, error) {
	uid, err := uuid.Parse(book.GetUid())
	if err != nil {
		return Reprint{}, err
	}
	rows, err := s.pool.Query(ctx,
		"INSERT INTO operations (id, book, book_uid, copy_count) VALUES ($1, $2, $3, $4) RETURNING "+reprintColumns,
		uuid.New(), book.GetName(), uid, copies)
	return one(rows, err, scanReprint)
}

// TakeReprint takes the oldest order that nobody works on; for as long as lease nobody else takes it. ErrNotFound:
// there is nothing to do.
func (s *Store) TakeReprint(ctx context.Context, lease time.Duration) (Reprint, error) {
	rows, err := s.pool.Query(ctx,
		`UPDATE operations SET lease_expire_time = now() + $1 WHERE id = (
			SELECT id FROM operations WHERE NOT done AND lease_expire_time < now()
			ORDER BY create_time LIMIT 1 FOR UPDATE SKIP LOCKED
		) RETURNING `+reprintColumns, lease)
	return one(rows, err, scanReprint)
}

// Advance says how far a reprint is, and renews the lease. ErrNotFound: it was cancelled.
func (s *Store) Advance(ctx context.Context, id uuid.UUID, printed int32, lease time.Duration) error {
	changed, err := s.pool.Exec(ctx,
		"UPDATE operations SET printed_count = $2, lease_expire_time = now() + $3 WHERE id = $1 AND NOT done",
		id, printed, lease)
	if err == nil && changed.RowsAffected() == 0 {
		return ErrNotFound
	}
	return err
}

// Release lets another press go on at once. An operation that has ended stays as it is.
func (s *Store) Release(ctx context.Context, id uuid.UUID) error {
	_, err := s.pool.Exec(ctx, "UPDATE operations SET lease_expire_time = '-infinity' WHERE id = $1 AND NOT done", id)
	return err
}

// Finish adds the copies to the book and ends the operation, both or neither. Where the book is gone, the operation
// has failed. ErrNotFound: the operation was cancelled.
func (s *Store) Finish(ctx context.Context, reprint Reprint) error {
	return s.inTransaction(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx,
			`UPDATE books SET copy_count = copy_count + $2, version = nextval('versions'), update_time = now()
			WHERE uid = $1 RETURNING `+bookColumns, reprint.BookUID, reprint.Ordered)
		book, err := one(rows, err, scanBook)
		if errors.Is(err, ErrNotFound) {
			return end(ctx, tx, reprint.ID, codes.NotFound, reprint.Book+" was removed while it was reprinted", nil)
		}
		if err != nil {
			return err
		}
		response, err := proto.Marshal(book)
		if err != nil {
			return err
		}
		return end(ctx, tx, reprint.ID, codes.OK, "", response)
	})
}

// Cancel ends an operation that has not ended. ErrNotFound.
func (s *Store) Cancel(ctx context.Context, id uuid.UUID) error {
	return s.inTransaction(ctx, func(tx pgx.Tx) error {
		err := end(ctx, tx, id, codes.Canceled, "it was cancelled", nil)
		if errors.Is(err, ErrNotFound) {
			_, err = s.Reprint(ctx, id)
		}
		return err
	})
}

// Expire removes operations that ended longer ago than that.
func (s *Store) Expire(ctx context.Context, keep time.Duration) error {
	_, err := s.pool.Exec(ctx, "DELETE FROM operations WHERE done AND end_time < now() - $1::interval", keep)
	return err
}

// Forget removes an operation that has ended. ErrNotFound, ErrChanged: it has not ended.
func (s *Store) Forget(ctx context.Context, id uuid.UUID) error {
	removed, err := s.pool.Exec(ctx, "DELETE FROM operations WHERE id = $1 AND done", id)
	if err != nil || removed.RowsAffected() == 1 {
		return err
	}
	if _, err := s.Reprint(ctx, id); err != nil {
		return err
	}
	return ErrChanged
}

func end(ctx context.Context, tx pgx.Tx, id uuid.UUID, code codes.Code, message string, response []byte) error {
	ended, err := tx.Exec(ctx,
		`UPDATE operations SET done = true, error_code = $2, error_message = $3, response = $4, end_time = now(),
		printed_count = CASE WHEN $2 = 0 THEN copy_count ELSE printed_count END WHERE id = $1 AND NOT done`,
		id, int32(code), message, response)
	if err == nil && ended.RowsAffected() == 0 {
		return ErrNotFound
	}
	return err
}
