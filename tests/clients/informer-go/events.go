package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// wrong counts events that no server should send: informers get over them, so that they do not show in what they hold.
type wrong struct {
	// What was known in that state already; and ADDED where it was known.
	Twice int `json:"twice"`
	// What had been told to be gone.
	Undead int `json:"undead"`
	// MODIFIED or DELETED of what was not known.
	Unknown int `json:"unknown"`
}

// object is what is read of one.
type object struct {
	Metadata struct {
		Namespace, Name, UID, ResourceVersion string
		Annotations                           map[string]string
	}
}

func (o object) key() string { return o.Metadata.Namespace + "/" + o.Metadata.Name }

// events follows what is sent, byte for byte, and says what is wrong with it.
type events struct {
	mu    sync.Mutex
	wrong wrong
	known map[string]object
	// UIDs.
	gone map[string]bool
	// What a list, or the beginning of a watch, has told so far.
	listed map[string]object
}

func newEvents() *events {
	return &events{known: map[string]object{}, gone: map[string]bool{}, listed: map[string]object{}}
}

// listBegins: everything is told anew.
func (e *events) listBegins() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listed = map[string]object{}
}

func (e *events) item(o object) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listed[o.key()] = o
	e.look(o)
}

func (e *events) listEnds() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, before := range e.known {
		// Another one may have the name.
		if e.listed[key].Metadata.UID != before.Metadata.UID {
			e.gone[before.Metadata.UID] = true
		}
	}
	e.known = e.listed
	for key, o := range e.known {
		// What the list was the first to tell, a watch from there may tell once more.
		o.Metadata.ResourceVersion = ""
		e.known[key] = o
	}
}

func (e *events) event(kind watch.EventType, o object) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before, known := e.known[o.key()]
	known = known && before.Metadata.UID == o.Metadata.UID
	switch kind {
	case watch.Added, watch.Modified:
		if known && (kind == watch.Added || before.Metadata.ResourceVersion == o.Metadata.ResourceVersion) {
			e.wrong.Twice++
		}
		if !known && kind == watch.Modified {
			e.wrong.Unknown++
		}
		e.look(o)
		e.known[o.key()] = o
	case watch.Deleted:
		if !known {
			e.wrong.Unknown++
		}
		delete(e.known, o.key())
		e.gone[o.Metadata.UID] = true
	}
}

func (e *events) look(o object) {
	if e.gone[o.Metadata.UID] {
		e.wrong.Undead++
	}
}

func (e *events) wrongs() wrong {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.wrong
}

// list reads the page of a list, and puts it back.
func (e *events) list(response *http.Response, first bool) error {
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	var page struct {
		Metadata metav1.ListMeta
		Items    []object
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return err
	}
	if first {
		e.listBegins()
	}
	for _, item := range page.Items {
		e.item(item)
	}
	if page.Metadata.Continue == "" {
		e.listEnds()
	}
	return nil
}

// watch reads a watch while the informer does.
func (e *events) watch(response *http.Response, initial bool) {
	reader, writer := io.Pipe()
	body := response.Body
	response.Body = tee{io.TeeReader(body, writer), body, writer}
	if initial {
		e.listBegins()
	}
	go func() {
		// Whatever comes of the reading, the informer goes on.
		defer func() { _, _ = io.Copy(io.Discard, reader) }()
		for lines := json.NewDecoder(reader); ; {
			var event struct {
				Type   watch.EventType
				Object object
			}
			if lines.Decode(&event) != nil {
				return
			}
			switch {
			case event.Type == watch.Bookmark && event.Object.Metadata.Annotations[metav1.InitialEventsAnnotationKey] == "true":
				initial = false
				e.listEnds()
			case initial && event.Type == watch.Added:
				e.item(event.Object)
			case !initial:
				e.event(event.Type, event.Object)
			}
		}
	}()
}

// tee is a body that somebody else reads too.
type tee struct {
	io.Reader
	body   io.Closer
	writer *io.PipeWriter
}

func (t tee) Close() error {
	_ = t.writer.Close()
	return t.body.Close()
}
