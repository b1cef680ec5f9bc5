package service

import (
	"context"
	"errors"

	"go.einride.tech/aip/resourceid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"kubridge.io/examples/library/internal/store"
	"kubridge.io/examples/library/libraryv1"
)

const publisherKind = "Publisher"

// GetPublisher reads one.
func (l *Library) GetPublisher(ctx context.Context, r *libraryv1.GetPublisherRequest) (*libraryv1.Publisher, error) {
	id, err := publisherID("name", r.GetName())
	if err != nil {
		return nil, err
	}
	found, err := l.store.Publisher(ctx, id)
	if err != nil {
		return nil, about(err, publisherKind, r.GetName())
	}
	return found, nil
}

// ListPublishers lists a page.
func (l *Library) ListPublishers(
	ctx context.Context, r *libraryv1.ListPublishersRequest,
) (*libraryv1.ListPublishersResponse, error) {
	page, checksum, err := page(r, store.PublisherFields)
	if err != nil {
		return nil, err
	}
	found, err := l.store.Publishers(ctx, page)
	if err != nil {
		return nil, err
	}
	found, next := cut(found, page.Limit, checksum, func(last *libraryv1.Publisher) []string {
		id, _ := publisherID("", last.GetName())
		return []string{id}
	})
	return &libraryv1.ListPublishersResponse{Publishers: found, NextPageToken: next}, nil
}

// CreatePublisher adds one.
func (l *Library) CreatePublisher(ctx context.Context, r *libraryv1.CreatePublisherRequest) (*libraryv1.Publisher, error) {
	id := r.GetPublisherId()
	if id == "" {
		id = resourceid.NewSystemGenerated()
	}
	if err := invalid(append(checkID("publisher_id", id), checkPublisher(r.GetPublisher())...)...); err != nil {
		return nil, err
	}
	return l.addPublisher(ctx, id, r.GetPublisher(), r.GetValidateOnly())
}

func (l *Library) addPublisher(
	ctx context.Context, id string, new *libraryv1.Publisher, validateOnly bool,
) (*libraryv1.Publisher, error) {
	name := store.PublisherName(id)
	if validateOnly {
		if _, err := l.store.Publisher(ctx, id); !errors.Is(err, store.ErrNotFound) {
			return nil, about(or(err, store.ErrExists), publisherKind, name)
		}
		shown := proto.Clone(new).(*libraryv1.Publisher)
		shown.Name = name
		return shown, nil
	}
	added, err := l.store.AddPublisher(ctx, id, new)
	if err != nil {
		return nil, about(err, publisherKind, name)
	}
	return added, nil
}

// UpdatePublisher changes one.
func (l *Library) UpdatePublisher(ctx context.Context, r *libraryv1.UpdatePublisherRequest) (*libraryv1.Publisher, error) {
	sent := r.GetPublisher()
	id, err := publisherID("publisher.name", sent.GetName())
	if err != nil {
		return nil, err
	}
	read := func() (*libraryv1.Publisher, error) { return l.store.Publisher(ctx, id) }
	updated, err := update(sent.GetEtag(), read, (*libraryv1.Publisher).GetEtag,
		func(old *libraryv1.Publisher) (*libraryv1.Publisher, error) {
			new, err := merged(old, sent, r.GetUpdateMask(), "publisher.")
			if err == nil {
				err = invalid(checkPublisher(new)...)
			}
			if err != nil || r.GetValidateOnly() || proto.Equal(old, new) {
				return new, err
			}
			return l.store.ReplacePublisher(ctx, id, new)
		})
	if errors.Is(err, store.ErrNotFound) && r.GetAllowMissing() {
		if err := invalid(append(checkID("publisher.name", id), checkPublisher(sent)...)...); err != nil {
			return nil, err
		}
		return l.addPublisher(ctx, id, sent, r.GetValidateOnly())
	}
	if err != nil {
		return nil, about(err, publisherKind, sent.GetName())
	}
	return updated, nil
}

// DeletePublisher removes one, with its books if forced to.
func (l *Library) DeletePublisher(ctx context.Context, r *libraryv1.DeletePublisherRequest) (*emptypb.Empty, error) {
	id, err := publisherID("name", r.GetName())
	if err != nil {
		return nil, err
	}
	if r.GetValidateOnly() {
		var found *libraryv1.Publisher
		found, err = l.store.Publisher(ctx, id)
		if err == nil && r.GetEtag() != "" && r.GetEtag() != found.GetEtag() {
			err = store.ErrChanged
		}
		if err == nil && found.GetBookCount() > 0 && !r.GetForce() {
			err = store.ErrHasBooks
		}
	} else {
		err = l.store.RemovePublisher(ctx, id, r.GetEtag(), r.GetForce())
	}
	if errors.Is(err, store.ErrNotFound) && r.GetAllowMissing() {
		err = nil
	}
	if err != nil {
		return nil, about(err, publisherKind, r.GetName())
	}
	return &emptypb.Empty{}, nil
}

// or is err, or where there is none, otherwise.
func or(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
