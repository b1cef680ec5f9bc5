package service

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"kubridge.io/examples/library/internal/store"
)

const (
	// How often a press says how far it is.
	pressInterval = 100 * time.Millisecond
	// After so long without a word from a press another one takes over.
	pressLease     = 5 * time.Second
	releaseTimeout = time.Second
	// For how long an operation that has ended can be asked for.
	operationLife  = 24 * time.Hour
	expireInterval = time.Minute
)

// Press prints what is ordered, one order after the other. Each server has one, and takes over from those that are gone.
type Press struct {
	store *store.Store
	// copies per second.
	speed int
	log   *slog.Logger
}

// NewPress prints so many copies a second.
func NewPress(store *store.Store, speed int, log *slog.Logger) *Press {
	return &Press{store, speed, log}
}

// Run prints until ctx ends.
func (p *Press) Run(ctx context.Context) {
	var expired time.Time
	for ctx.Err() == nil {
		if time.Since(expired) > expireInterval {
			expired = time.Now()
			if err := p.store.Expire(ctx, operationLife); err != nil && ctx.Err() == nil {
				p.log.Warn("old operations stay", "error", err)
			}
		}
		reprint, err := p.store.TakeReprint(ctx, pressLease)
		if err == nil {
			err = p.print(ctx, reprint)
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, store.ErrNotFound), ctx.Err() != nil:
		default:
			p.log.Warn("the press rests", "error", err)
		}
		pause(ctx, pressInterval)
	}
}

// print goes on where another press has stopped. store.ErrNotFound: it was cancelled.
func (p *Press) print(ctx context.Context, reprint store.Reprint) error {
	began, before := time.Now(), int64(reprint.Printed)
	for {
		printed := before + int64(time.Since(began).Seconds()*float64(p.speed))
		if printed >= int64(reprint.Ordered) {
			break
		}
		if err := p.store.Advance(ctx, reprint.ID, int32(printed), pressLease); err != nil {
			return err
		}
		if !pause(ctx, pressInterval) {
			return p.release(ctx, reprint)
		}
	}
	if err := p.store.Finish(ctx, reprint); err != nil {
		return err
	}
	p.log.Info("printed", "operation", reprint.ID, "book", reprint.Book, "copies", reprint.Ordered)
	return nil
}

// release is for a press that stops: its order need not wait for the lease to end.
func (p *Press) release(ctx context.Context, reprint store.Reprint) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	return p.store.Release(ctx, reprint.ID)
}

// pause tells whether it was a whole one.
func pause(ctx context.Context, long time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(long):
		return true
	}
}
