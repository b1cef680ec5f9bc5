package service

import (
	"context"
	"errors"
	"time"

	"go.einride.tech/aip/resourceid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"kubridge.io/examples/library/internal/store"
	"kubridge.io/examples/library/libraryv1"
)

const (
	bookKind  = "Book"
	usualLoan = 4 * 7 * 24 * time.Hour
)

// GetBook reads one.
func (l *Library) GetBook(ctx context.Context, r *libraryv1.GetBookRequest) (*libraryv1.Book, error) {
	key, err := bookKey("name", r.GetName())
	if err != nil {
		return nil, err
	}
	found, err := l.store.Book(ctx, key)
	if err != nil {
		return nil, about(err, bookKind, r.GetName())
	}
	return found, nil
}

// ListBooks lists a page, of one publisher or of all.
func (l *Library) ListBooks(ctx context.Context, r *libraryv1.ListBooksRequest) (*libraryv1.ListBooksResponse, error) {
	publisher := ""
	if r.GetParent() != store.PublisherName(wildcard) {
		var err error
		if publisher, err = publisherID("parent", r.GetParent()); err != nil {
			return nil, err
		}
	}
	page, checksum, err := page(r, store.BookFields)
	if err != nil {
		return nil, err
	}
	found, err := l.store.Books(ctx, publisher, page)
	if err != nil {
		return nil, about(err, bookKind, r.GetParent()+"/books")
	}
	found, next := cut(found, page.Limit, checksum, func(last *libraryv1.Book) []string {
		key, _ := bookKey("", last.GetName())
		return []string{key.Publisher, key.Book}
	})
	return &libraryv1.ListBooksResponse{Books: found, NextPageToken: next}, nil
}

// CreateBook adds one.
func (l *Library) CreateBook(ctx context.Context, r *libraryv1.CreateBookRequest) (*libraryv1.Book, error) {
	publisher, err := publisherID("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	key := store.BookKey{Publisher: publisher, Book: r.GetBookId()}
	if key.Book == "" {
		key.Book = resourceid.NewSystemGenerated()
	}
	if err := invalid(append(checkID("book_id", key.Book), checkBook(r.GetBook())...)...); err != nil {
		return nil, err
	}
	return l.addBook(ctx, key, r.GetBook(), r.GetValidateOnly())
}

func (l *Library) addBook(
	ctx context.Context, key store.BookKey, new *libraryv1.Book, validateOnly bool,
) (*libraryv1.Book, error) {
	if validateOnly {
		if _, err := l.store.Book(ctx, key); !errors.Is(err, store.ErrNotFound) {
			return nil, about(or(err, store.ErrExists), bookKind, key.Name())
		}
		if _, err := l.store.Publisher(ctx, key.Publisher); err != nil {
			return nil, about(err, publisherKind, store.PublisherName(key.Publisher))
		}
		shown := proto.Clone(new).(*libraryv1.Book)
		shown.Name = key.Name()
		return shown, nil
	}
	added, err := l.store.AddBook(ctx, key, new)
	if err != nil {
		return nil, about(err, bookKind, key.Name())
	}
	return added, nil
}

// UpdateBook changes one.
func (l *Library) UpdateBook(ctx context.Context, r *libraryv1.UpdateBookRequest) (*libraryv1.Book, error) {
	sent := r.GetBook()
	key, err := bookKey("book.name", sent.GetName())
	if err != nil {
		return nil, err
	}
	updated, err := l.change(ctx, key, sent.GetEtag(), func(old *libraryv1.Book) (*libraryv1.Book, error) {
		new, err := merged(old, sent, r.GetUpdateMask(), "book.")
		if err == nil {
			err = invalid(checkBook(new)...)
		}
		if err != nil || r.GetValidateOnly() || proto.Equal(old, new) {
			return new, err
		}
		return l.store.ReplaceBook(ctx, key, new)
	})
	if errors.Is(err, store.ErrNotFound) && r.GetAllowMissing() {
		if err := invalid(checkBook(sent)...); err != nil {
			return nil, err
		}
		return l.addBook(ctx, key, sent, r.GetValidateOnly())
	}
	if err != nil {
		return nil, about(err, bookKind, key.Name())
	}
	return updated, nil
}

// DeleteBook removes one.
func (l *Library) DeleteBook(ctx context.Context, r *libraryv1.DeleteBookRequest) (*emptypb.Empty, error) {
	key, err := bookKey("name", r.GetName())
	if err != nil {
		return nil, err
	}
	if r.GetValidateOnly() {
		var found *libraryv1.Book
		found, err = l.store.Book(ctx, key)
		if err == nil && r.GetEtag() != "" && r.GetEtag() != found.GetEtag() {
			err = store.ErrChanged
		}
	} else {
		err = l.store.RemoveBook(ctx, key, r.GetEtag())
	}
	if errors.Is(err, store.ErrNotFound) && r.GetAllowMissing() {
		err = nil
	}
	if err != nil {
		return nil, about(err, bookKind, key.Name())
	}
	return &emptypb.Empty{}, nil
}

// ReserveBook sets one aside. For whom it is set aside already, nothing changes.
func (l *Library) ReserveBook(ctx context.Context, r *libraryv1.ReserveBookRequest) (*libraryv1.Book, error) {
	key, err := bookKey("name", r.GetName())
	if err != nil {
		return nil, err
	}
	if err := invalid(missing(r.ProtoReflect(), "")...); err != nil {
		return nil, err
	}
	reserved, err := l.change(ctx, key, r.GetEtag(), func(old *libraryv1.Book) (*libraryv1.Book, error) {
		switch old.GetReader() {
		case r.GetReader():
			return old, nil
		case "":
			loan := usualLoan
			if old.GetLoanPeriod() != nil {
				loan = old.GetLoanPeriod().AsDuration()
			}
			due := time.Now().Add(loan)
			return l.store.SetReader(ctx, key, old.GetEtag(), r.GetReader(), &due)
		}
		return nil, fault(codes.FailedPrecondition, "RESERVED", key.Name()+" is reserved for somebody else", nil,
			&errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{{
				Type: "STATE", Subject: key.Name(), Description: "it is reserved for somebody else",
			}}})
	})
	if err != nil {
		return nil, about(err, bookKind, key.Name())
	}
	return reserved, nil
}

// ReturnBook ends a reservation. Where there is none, nothing changes.
func (l *Library) ReturnBook(ctx context.Context, r *libraryv1.ReturnBookRequest) (*libraryv1.Book, error) {
	key, err := bookKey("name", r.GetName())
	if err != nil {
		return nil, err
	}
	returned, err := l.change(ctx, key, r.GetEtag(), func(old *libraryv1.Book) (*libraryv1.Book, error) {
		if old.GetReader() == "" {
			return old, nil
		}
		return l.store.SetReader(ctx, key, old.GetEtag(), "", nil)
	})
	if err != nil {
		return nil, about(err, bookKind, key.Name())
	}
	return returned, nil
}

func (l *Library) change(
	ctx context.Context, key store.BookKey, etag string, write func(*libraryv1.Book) (*libraryv1.Book, error),
) (*libraryv1.Book, error) {
	read := func() (*libraryv1.Book, error) { return l.store.Book(ctx, key) }
	return update(etag, read, (*libraryv1.Book).GetEtag, write)
}
