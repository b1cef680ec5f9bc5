package service

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"go.einride.tech/aip/pagination"

	"kubridge.io/examples/library/internal/store"
)

const (
	usualPage   = 50
	longestPage = 1000
)

// token says where a page begins. It is opaque to clients, and no secret.
type token struct {
	// After is the key of the last one before the page.
	After []string `json:"after"`
	// Request is what must be the same from page to page.
	Request uint32 `json:"request"`
}

// listRequest is what the requests of all Lists have.
type listRequest interface {
	pagination.Request
	GetFilter() string
}

// page reads what a List asks for. One more than the page has is asked of the store, to see whether another one follows.
func page(request listRequest, fields *store.Fields) (store.Page, uint32, error) {
	filter, err := fields.Parse(request.GetFilter())
	if err != nil {
		return store.Page{}, 0, invalid(violation{"filter", "INVALID_FILTER", err.Error()})
	}
	if request.GetPageSize() < 0 {
		return store.Page{}, 0, invalid(violation{"page_size", "OUT_OF_RANGE", "it cannot be negative"})
	}
	size := int(request.GetPageSize())
	if size == 0 {
		size = usualPage
	}
	checksum, err := pagination.CalculateRequestChecksum(request)
	if err != nil {
		return store.Page{}, 0, err
	}
	begin, err := parseToken(request.GetPageToken())
	if err == nil && request.GetPageToken() != "" && begin.Request != checksum {
		err = fmt.Errorf("it belongs to another request")
	}
	if err != nil {
		return store.Page{}, 0, invalid(violation{"page_token", "INVALID_PAGE_TOKEN", err.Error() + ": list from the beginning"})
	}
	return store.Page{Limit: min(size, longestPage) + 1, After: begin.After, Filter: filter}, checksum, nil
}

// cut takes off the one too many; with it, the next page's token.
func cut[T any](found []T, limit int, checksum uint32, key func(T) []string) ([]T, string) {
	if len(found) < limit {
		return found, ""
	}
	found = found[:limit-1]
	text, err := json.Marshal(token{After: key(found[len(found)-1]), Request: checksum})
	if err != nil {
		panic(err) // Texts and a number.
	}
	return found, base64.RawURLEncoding.EncodeToString(text)
}

func parseToken(text string) (token, error) {
	var parsed token
	if text == "" {
		return parsed, nil
	}
	decoded, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(decoded, &parsed)
	}
	if err != nil {
		return parsed, fmt.Errorf("it is no token of this library")
	}
	return parsed, nil
}
