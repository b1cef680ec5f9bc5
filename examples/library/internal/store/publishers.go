package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"kubridge.io/examples/library/libraryv1"
)

const publisherColumns = "id, uid, display_name, region_code, website, labels, book_count, version, create_time, update_time"

func scanPublisher(row pgx.CollectableRow) (*libraryv1.Publisher, error) {
	var (
		found            libraryv1.Publisher
		id               string
		uid              uuid.UUID
		version          int64
		created, updated time.Time
	)
	err := row.Scan(
		&id, &uid, &found.DisplayName, &found.RegionCode, &found.Website, &found.Labels, &found.BookCount,
		&version, &created, &updated,
	)
	found.Name, found.Uid, found.Etag = PublisherName(id), uid.String(), etag(version)
	found.CreateTime, found.UpdateTime = timestamppb.New(created), timestamppb.New(updated)
	return &found, err
}

// Publisher reads one. ErrNotFound.
func (s *Store) Publisher(ctx context.Context, id string) (*libraryv1.Publisher, error) {
	rows, err := s.pool.Query(ctx, "SELECT "+publisherColumns+" FROM publishers WHERE id = $1", id)
	return one(rows, err, scanPublisher)
}

// Publishers lists a page.
func (s *Store) Publishers(ctx context.Context, page Page) ([]*libraryv1.Publisher, error) {
	where, arguments := page.where([]string{"id"}, "true", nil)
	rows, err := s.pool.Query(ctx, "SELECT "+publisherColumns+" FROM publishers"+where, arguments...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanPublisher)
}

// AddPublisher adds one. ErrExists.
func (s *Store) AddPublisher(ctx context.Context, id string, new *libraryv1.Publisher) (*libraryv1.Publisher, error) {
	rows, err := s.pool.Query(ctx,
		`INSERT INTO publishers (id, uid, display_name, region_code, website, labels)
		VALUES ($1, $2, $3, $4, $5, $6) RETURNING `+publisherColumns,
		id, uuid.New(), new.GetDisplayName(), new.GetRegionCode(), new.GetWebsite(), texts(new.GetLabels()),
	)
	added, err := one(rows, err, scanPublisher)
	if violates(err, uniqueViolation) {
		return nil, ErrExists
	}
	return added, err
}

// ReplacePublisher writes what a client may say of one, over the state that new.Etag names. ErrChanged: it is in
// another one, or gone.
func (s *Store) ReplacePublisher(ctx context.Context, id string, new *libraryv1.Publisher) (*libraryv1.Publisher, error) {
	version, err := versionOf(new.GetEtag())
	if err != nil {
		return nil, err
	}
	rows, err := s.pool.Query(ctx,
		`UPDATE publishers SET display_name = $3, website = $4, labels = $5,
		version = nextval('versions'), update_time = now()
		WHERE id = $1 AND version = $2 RETURNING `+publisherColumns,
		id, version, new.GetDisplayName(), new.GetWebsite(), texts(new.GetLabels()),
	)
	replaced, err := one(rows, err, scanPublisher)
	if err == ErrNotFound {
		return nil, ErrChanged
	}
	return replaced, err
}

// RemovePublisher removes the one in that state; etag empty: in any. ErrNotFound, ErrChanged, ErrHasBooks.
func (s *Store) RemovePublisher(ctx context.Context, id, etag string, withBooks bool) error {
	return s.inTransaction(ctx, func(tx pgx.Tx) error {
		version, err := lockPublisher(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := expect(version, etag); err != nil {
			return err
		}
		if withBooks {
			if _, err := tx.Exec(ctx, "DELETE FROM books WHERE publisher_id = $1", id); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, "DELETE FROM publishers WHERE id = $1", id)
		if violates(err, foreignKeyViolation) {
			return ErrHasBooks
		}
		return err
	})
}

// lockPublisher keeps others from changing it, and its books from coming and going. Its version.
func lockPublisher(ctx context.Context, tx pgx.Tx, id string) (int64, error) {
	rows, err := tx.Query(ctx, "SELECT version FROM publishers WHERE id = $1 FOR UPDATE", id)
	return one(rows, err, pgx.RowTo[int64])
}

// expect compares a version with an etag; empty: any will do.
func expect(version int64, etag string) error {
	if etag == "" {
		return nil
	}
	if expected, err := versionOf(etag); err != nil || expected != version {
		return ErrChanged
	}
	return nil
}

// texts is a map that is never NULL.
func texts(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// PublisherName is the name of a publisher.
func PublisherName(id string) string {
	return "publishers/" + id
}
