// Package store keeps the library in PostgreSQL.
package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// What keeps a request from being carried out. Nothing was written.
var (
	ErrNotFound = errors.New("there is no such thing")
	ErrNoParent = errors.New("there is no such parent")
	ErrExists   = errors.New("it exists")
	ErrChanged  = errors.New("it is no longer in that state")
	ErrHasBooks = errors.New("it still has books")
)

// How often a transaction that lost against another one is tried again.
const attempts = 5

// Store is safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
}

// Open does not connect yet: the database may be away. url is as libpq has it; an error: it is no such URL.
func Open(ctx context.Context, url string) (*Store, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return &Store{pool}, nil
}

// Close waits for what is under way.
func (s *Store) Close() {
	s.pool.Close()
}

// Ping asks whether the database is there.
func (s *Store) Ping(ctx context.Context) error {
	return s.pool.Ping(ctx)
}

// Page is a part of a list, in the order of names.
type Page struct {
	// Limit is how many at most.
	Limit int
	// After is the key of the last one before the page; empty: from the beginning.
	After []string
	// Filter is a condition; empty: all.
	Filter Condition
}

// inTransaction runs do, again where the database asks for it.
func (s *Store) inTransaction(ctx context.Context, do func(pgx.Tx) error) error {
	var err error
	for range attempts {
		err = pgx.BeginFunc(ctx, s.pool, do)
		var refused *pgconn.PgError
		// serialization_failure, deadlock_detected
		if !errors.As(err, &refused) || (refused.Code != "40001" && refused.Code != "40P01") {
			return err
		}
	}
	return err
}

// one reads a row; ErrNotFound: there is none.
func one[T any](rows pgx.Rows, err error, scan pgx.RowToFunc[T]) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	found, err := pgx.CollectExactlyOneRow(rows, scan)
	if errors.Is(err, pgx.ErrNoRows) {
		return found, ErrNotFound
	}
	return found, err
}

// violates tells whether a constraint of this class (an SQLSTATE) refused a write.
func violates(err error, code string) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == code
}

const (
	foreignKeyViolation = "23503"
	uniqueViolation     = "23505"
)

// Etag is a version as clients see it: with quotes, as in RFC 9110.
func etag(version int64) string {
	return `"` + strconv.FormatInt(version, 36) + `"`
}

// versionOf is the version of an etag; ErrChanged: none has it.
func versionOf(etag string) (int64, error) {
	inner, quoted := strings.CutPrefix(etag, `"`)
	inner, closed := strings.CutSuffix(inner, `"`)
	version, err := strconv.ParseInt(inner, 36, 64)
	if err != nil || !quoted || !closed {
		return 0, ErrChanged
	}
	return version, nil
}

func timestamp(at *time.Time) *timestamppb.Timestamp {
	if at == nil {
		return nil
	}
	return timestamppb.New(*at)
}

// where is a list's condition: after the page before, and what the filter says. key: the columns of the order.
func (p Page) where(key []string, first string, arguments []any) (string, []any) {
	conditions := []string{first}
	if len(p.After) == len(key) {
		places := make([]string, len(key))
		for i, value := range p.After {
			arguments = append(arguments, value)
			places[i] = fmt.Sprintf("$%d", len(arguments))
		}
		conditions = append(conditions, fmt.Sprintf("(%s) > (%s)", strings.Join(key, ", "), strings.Join(places, ", ")))
	}
	if p.Filter.sql != nil {
		var condition string
		condition, arguments = p.Filter.sql(arguments)
		conditions = append(conditions, condition)
	}
	arguments = append(arguments, p.Limit)
	return fmt.Sprintf(
		" WHERE %s ORDER BY %s LIMIT $%d",
		strings.Join(conditions, " AND "), strings.Join(key, ", "), len(arguments),
	), arguments
}
