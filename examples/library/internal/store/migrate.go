package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
)

// In the order of their names. A migration that was released is never changed.
//
//go:embed migrations/*.sql
var migrations embed.FS

// Held while a migration runs, so that one of several servers does it.
const migrationLock = 0x6c696272617279

// Migrate brings the database up to date. All of it happens, or nothing.
func (s *Store) Migrate(ctx context.Context) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
			return err
		}
		const table = "CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())"
		if _, err := tx.Exec(ctx, table); err != nil {
			return err
		}
		files, err := fs.ReadDir(migrations, "migrations")
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := apply(ctx, tx, file.Name()); err != nil {
				return fmt.Errorf("%s: %w", file.Name(), err)
			}
		}
		return nil
	})
}

func apply(ctx context.Context, tx pgx.Tx, name string) error {
	added, err := tx.Exec(ctx, "INSERT INTO migrations (name) VALUES ($1) ON CONFLICT DO NOTHING", name)
	if err != nil || added.RowsAffected() == 0 {
		return err
	}
	text, err := migrations.ReadFile("migrations/" + name)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, string(text))
	return err
}
