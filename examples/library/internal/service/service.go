// Package service is the library's API: what is asked for, checked and answered.
package service

import (
	"errors"

	"kubridge.io/examples/library/internal/store"
	"kubridge.io/examples/library/libraryv1"
)

// How often a change without an etag is made again when another one comes in between.
const attempts = 10

// Library is the LibraryService.
type Library struct {
	libraryv1.UnimplementedLibraryServiceServer
	store *store.Store
}

// New serves what is in the store.
func New(store *store.Store) *Library {
	return &Library{store: store}
}

// update reads, changes and writes, over again while others do the same. A client that says which state it has seen
// (etag) is told instead.
func update[T any](etag string, read func() (T, error), etagOf func(T) string, write func(T) (T, error)) (T, error) {
	var none T
	for range attempts {
		old, err := read()
		if err != nil {
			return none, err
		}
		if etag != "" && etag != etagOf(old) {
			return none, store.ErrChanged
		}
		written, err := write(old)
		if errors.Is(err, store.ErrChanged) && etag == "" {
			continue
		}
		return written, err
	}
	return none, store.ErrChanged
}
