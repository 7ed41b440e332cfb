package spec

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
)

// addSeeds gives a fuzz target the documents of the tests.
func addSeeds(f *testing.F) {
	f.Helper()
	f.Add(Reference())
	f.Add([]byte("\ufeff" + head + "resourceList: [{resourceName: a, selectors: {}, additionalInfo: {\"*\": {a: b}}}]\r\n"))
	f.Add([]byte(`{"apiVersion": "v1alpha1", "kind": "SRIOVConfig", "resourceList": [{"resourceName": "a\/b\ud83d\ude00", "selectors": {}}]}`))
	files, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("no archives: %v", err)
	}
	for _, file := range files {
		arch, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, x := range arch.Files {
			if filepath.Ext(x.Name) == ".yaml" {
				f.Add(x.Data)
			}
		}
	}
}

// checkErrors: an error is always a report that can be rendered, and points
// into the input.
func checkErrors(t *testing.T, err error, data []byte) {
	t.Helper()
	var all *Errors
	if !errors.As(err, &all) || len(all.List) == 0 || len(all.List) > maxErrors {
		t.Fatalf("%T: %v", err, err)
	}
	if err := all.Render(io.Discard, data); err != nil {
		t.Fatal(err)
	}
	if s := all.Error(); !utf8.ValidString(s) {
		t.Errorf("the message is not UTF-8: %q", s)
	}
	lines := len(splitLines(data))
	for _, e := range all.List {
		// One past the end is where something is missing.
		if e.Pos.Line < 0 || e.Pos.Line > lines+1 || e.Pos.Line > 0 && e.Pos.Column < 1 {
			t.Errorf("%v is outside the input of %d lines: %s", e.Pos, lines, e.Msg)
		}
		if e.Msg == "" {
			t.Error("an error without a message")
		}
	}
}

func FuzzLoad(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, load := range loaders {
			c, err := load("fuzz.yaml", data)
			if err != nil {
				checkErrors(t, err, data)
				continue
			}
			again, err := load("fuzz.yaml", data)
			if err != nil {
				t.Fatalf("accepted, then refused: %v", err)
			}
			if diff := cmp.Diff(c, again); diff != "" {
				t.Fatalf("read differently: %s", diff)
			}
			c.Warnings()
			doc, err := Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			again, err = reload(doc)
			if err != nil {
				t.Fatalf("refused as written by Marshal: %v\n%s", err, doc)
			}
			if diff := cmp.Diff(c, again, noPos, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("changed by Marshal: %s\n%s", diff, doc)
			}
		}
	})
}

func reload(doc []byte) (*Config, error) { return Load("marshalled.yaml", doc) }

func FuzzExtract(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		emb, err := Extract("fuzz.yaml", data)
		if err != nil {
			checkErrors(t, err, data)
			return
		}
		if emb.Bare && !bytes.Equal(emb.Data, data) {
			t.Error("a bare document was changed")
		}
		lines := len(splitLines(data))
		for i := range splitLines(emb.Data) {
			if p := emb.where.at(Pos{i + 1, 1}); p.Line < 1 || p.Line > lines || p.Column < 1 {
				t.Errorf("line %d of the content is at %v of %d lines", i+1, p, lines)
			}
		}
	})
}

func FuzzRanges(f *testing.F) {
	for _, s := range []string{"pf", "pf#0", "pf#0-3,7", "pf#", "pf#3-1", "#0", "pf#0,,1", "pf#-1", "pf#65535", "pf#99999999999999999999", "p f#1", "pf#0#1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRanges(s)
		if err != nil {
			return
		}
		if r.Name == "" || r.All == (len(r.List) > 0) {
			t.Fatalf("%q: %+v", s, r)
		}
		// Written out and read again, it is the same.
		out := r.Name
		for i, x := range r.List {
			if x.First > x.Last || !r.Contains(x.First) || !r.Contains(x.Last) {
				t.Fatalf("%q: %+v", s, r)
			}
			out += string("#,"[min(i, 1)]) + x.String()
		}
		again, err := ParseRanges(out)
		if err != nil {
			t.Fatalf("%q, from %q: %v", out, s, err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Fatalf("%q: %s", s, diff)
		}
	})
}
