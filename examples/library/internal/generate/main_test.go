package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheCommittedCodeIsWhatTheProtosSay(t *testing.T) {
	root, out := filepath.Join("..", ".."), t.TempDir()
	if err := generate(t.Context(), root, out); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(out, "libraryv1", "*.go"))
	if err != nil || len(files) != 2 {
		t.Fatalf("two files are generated: %v, %v", files, err)
	}
	for _, file := range files {
		generated, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		committed, err := os.ReadFile(filepath.Join(root, "libraryv1", filepath.Base(file)))
		if err != nil {
			t.Fatal(err)
		}
		if string(generated) != string(committed) {
			t.Errorf("%s differs: run `go generate ./...` in examples/library", filepath.Base(file))
		}
	}
}
