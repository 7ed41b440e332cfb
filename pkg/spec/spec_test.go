package spec

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite golden files")

// loaders are the ways a case of testdata/bad is read, by the prefix of its
// archive's name.
var loaders = map[string]func(source string, data []byte) (*Config, error){
	"spec": LoadFile,
	"list": LoadResourceList,
}

// render returns the report on data as a person sees it.
func render(t testing.TB, err error, data []byte) string {
	t.Helper()
	var all *Errors
	if !errors.As(err, &all) {
		t.Fatalf("the error is a %T, want *Errors: %v", err, err)
	}
	if len(all.List) == 0 {
		t.Fatal("*Errors without an error")
	}
	var b strings.Builder
	if err := all.Render(&b, data); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestBadDocuments reads every document NAME.yaml of the archives and compares
// the report with NAME.txt beside it.
func TestBadDocuments(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	cases := 0
	for _, file := range files {
		base := strings.TrimSuffix(filepath.Base(file), ".txtar")
		kind, _, _ := strings.Cut(base, "-")
		load := loaders[kind]
		if load == nil {
			t.Fatalf("%s: no loader for %q", file, kind)
		}
		arch, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		golden := make(map[string]string)
		out := &txtar.Archive{Comment: arch.Comment}
		for _, f := range arch.Files {
			if name, found := strings.CutSuffix(f.Name, ".txt"); found {
				golden[name] = string(f.Data)
			}
		}
		for _, f := range arch.Files {
			name, found := strings.CutSuffix(f.Name, ".yaml")
			if !found {
				continue
			}
			cases++
			out.Files = append(out.Files, f)
			t.Run(base+"/"+name, func(t *testing.T) {
				c, err := load(f.Name, f.Data)
				if err == nil {
					t.Fatalf("was accepted:\n%s", f.Data)
				}
				if c != nil {
					t.Error("a Config came with the error")
				}
				got := render(t, err, f.Data)
				out.Files = append(out.Files, txtar.File{Name: name + ".txt", Data: []byte(got)})
				if diff := cmp.Diff(golden[name], got); diff != "" && !*update {
					t.Errorf("report differs (-want +got), -update rewrites it:\n%s", diff)
				}
			})
		}
		if *update {
			if err := os.WriteFile(file, txtar.Format(out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if atLeast := 400; cases < atLeast {
		t.Errorf("%d cases, want at least %d", cases, atLeast)
	}
}
