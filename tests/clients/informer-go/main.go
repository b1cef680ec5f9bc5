// An informer of client-go with its defaults, for the test of what informers hold.
//
//	informer-go --kubeconfig FILE RESOURCE.VERSION.GROUP   such as books.v1.library.example.com
//
// For each line on standard input it says in one line of JSON what it holds and what it has seen; see report. It ends
// with its standard input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"log"
	"maps"
	"net/http"
	"os"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// report is what is said of an informer.
type report struct {
	Synced bool `json:"synced"`
	// By namespace/name.
	Objects map[string]*unstructured.Unstructured `json:"objects"`
	Seen    seen                                  `json:"seen"`
}

// seen counts what has happened since the start.
type seen struct {
	Adds    int `json:"adds"`
	Updates int `json:"updates"`
	Deletes int `json:"deletes"`
	// How often the whole collection was begun to be sent: lists (their first pages), and watches that begin with it.
	Lists int `json:"lists"`
	// Watches that go on where a list, or another watch, has ended.
	Watches int `json:"watches"`
	// What the informer's error handler was told, and how often: not that a watch ended with an error, only what
	// was in the way of another one.
	Errors map[string]int `json:"errors"`
	Wrong  wrong          `json:"wrong"`
}

// informer is one under way.
type informer struct {
	cache.SharedIndexInformer
	events *events

	mu   sync.Mutex
	seen seen
}

func main() {
	log.SetFlags(0)
	kubeconfig := flag.String("kubeconfig", "", "whom to ask, and as whom")
	flag.Parse()
	resource, _ := schema.ParseResourceArg(flag.Arg(0))
	if resource == nil || flag.NArg() != 1 {
		log.Fatal("usage: informer-go --kubeconfig FILE RESOURCE.VERSION.GROUP")
	}
	i, err := start(*kubeconfig, *resource)
	if err != nil {
		log.Fatal(err)
	}
	say := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := say.Encode(i.report()); err != nil {
			log.Fatal(err)
		}
	}
}

func start(kubeconfig string, resource schema.GroupVersionResource) (*informer, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	i := &informer{events: newEvents(), seen: seen{Errors: map[string]int{}}}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return transport{i, next} })
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
	i.SharedIndexInformer = factory.ForResource(resource).Informer()
	if _, err := i.AddEventHandler(i.handler()); err != nil {
		return nil, err
	}
	failed := func(_ context.Context, _ *cache.Reflector, err error) {
		i.note(func(s *seen) { s.Errors[err.Error()]++ })
	}
	if err := i.SetWatchErrorHandlerWithContext(failed); err != nil {
		return nil, err
	}
	factory.Start(context.Background().Done())
	return i, nil
}

func (i *informer) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { i.note(func(s *seen) { s.Adds++ }) },
		UpdateFunc: func(any, any) { i.note(func(s *seen) { s.Updates++ }) },
		DeleteFunc: func(any) { i.note(func(s *seen) { s.Deletes++ }) },
	}
}

func (i *informer) note(what func(*seen)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	what(&i.seen)
}

func (i *informer) report() report {
	objects := map[string]*unstructured.Unstructured{}
	for _, held := range i.GetStore().List() {
		object := held.(*unstructured.Unstructured)
		objects[object.GetNamespace()+"/"+object.GetName()] = object
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	seen := i.seen
	// Errors go on being counted while the report is written out.
	seen.Errors = maps.Clone(i.seen.Errors)
	seen.Wrong = i.events.wrongs()
	return report{Synced: i.HasSynced(), Objects: objects, Seen: seen}
}

// transport counts the requests that are answered with 200, and looks at what they are answered.
type transport struct {
	informer *informer
	next     http.RoundTripper
}

func (t transport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusOK {
		return response, err
	}
	query := request.URL.Query()
	initial := query.Get("sendInitialEvents") == "true"
	first := query.Get("continue") == ""
	switch watch := query.Has("watch"); {
	case watch && !initial:
		t.informer.note(func(s *seen) { s.Watches++ })
	case watch || first:
		t.informer.note(func(s *seen) { s.Lists++ })
	}
	if query.Has("watch") {
		t.informer.events.watch(response, initial)
		return response, nil
	}
	return response, t.informer.events.list(response, first)
}
