package convert_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/talos-sriov/talos-sriov/pkg/convert"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

var update = flag.Bool("update", false, "write the golden parts")

// render writes a result for people: the config, the networks' CNI
// configurations, the findings.
func render(t *testing.T, r *convert.Result, err error) string {
	t.Helper()
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var b strings.Builder
	if r.Config != nil {
		text, err := spec.Marshal(r.Config)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
		if _, err := spec.Load("converted", text); err != nil {
			t.Errorf("our decoder refuses what was converted: %v", err)
		}
	}
	for _, n := range r.Networks {
		c, err := n.Config()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "# network %s/%s of %s: %s\n", n.Namespace, n.Name, n.ResourceName, c)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "# %s\n", f)
	}
	return b.String()
}

// TestGolden converts the "in" of every archive, and compares with "want". The
// comment may name the options: "labels: a=b" and "pf: name address vendor device".
func TestGolden(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var o convert.Options
			for line := range strings.Lines(string(a.Comment)) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				switch key {
				case "labels":
					k, v, _ := strings.Cut(value, "=")
					o.NodeLabels = map[string]string{k: v}
				case "prefix":
					o.ResourcePrefix = value
				case "pf":
					f := strings.Fields(value)
					o.PFs = append(o.PFs, convert.PF{Name: f[0], Address: f[1], Vendor: f[2], Device: f[3], AltNames: f[4:]})
				}
			}
			r, err := convert.Convert("in", a.Files[0].Data, o)
			got := render(t, r, err)
			if *update {
				a.Files = append(a.Files[:1], txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(a.Files[1].Data), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestMergeOrder is the operator's own table of merges: the policy p1 (whole PF,
// 2 VFs, resource p1res) is applied on top of others.
func TestMergeOrder(t *testing.T) {
	type pol struct {
		name, resource, pf string
		priority, vfs, mtu int
	}
	p1 := pol{"p1", "p1res", "ens1", 10, 2, 0}
	tests := map[string]struct {
		others []pol
		want   string // per PF: numVFs, mtu, then resource:range
	}{
		"alone":                           {nil, "ens1 2 0 p1res:all"},
		"other PF":                        {[]pol{{"p0", "p0res", "ens2", 10, 4, 0}}, "ens2 4 0 p0res:all | ens1 2 0 p1res:all"},
		"other priority, overlap":         {[]pol{{"p0", "p0res", "ens1#0-1", 20, 3, 0}}, "ens1 2 0 p1res:all"},
		"equal priority, overlap":         {[]pol{{"p0", "p0res", "ens1#0-1", 10, 3, 2000}}, "ens1 3 2000 p1res:0-1"},
		"equal priority, apart":           {[]pol{{"p0", "p0res", "ens1#2-4", 10, 5, 0}}, "ens1 5 0 p1res:0-1 p0res:2-4"},
		"equal priority, two overlap":     {[]pol{{"p0", "p0res", "ens1#0-0", 10, 2, 0}, {"p00", "q", "ens1#1-1", 10, 2, 0}}, "ens1 2 0 p1res:all"},
		"equal priority, same resource":   {[]pol{{"p0", "p1res", "ens1#2-3", 10, 4, 0}}, "ens1 4 0 p1res:0-1"},
		"other priority, apart":           {[]pol{{"p0", "p0res", "ens1#2-3", 20, 4, 0}}, "ens1 4 0 p1res:0-1 p0res:2-3"},
		"the higher priority comes last":  {[]pol{{"p2", "p2res", "ens1", 5, 6, 0}}, "ens1 6 0 p2res:all"},
		"of equal ones, the last by name": {[]pol{{"a", "ares", "ens1", 10, 6, 0}}, "ens1 6 0 p1res:0-1"},
		"bad range":                       {[]pol{{"p0", "p0res", "ens1#a-c", 10, 4, 0}}, "ens1 2 0 p1res:all"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var in strings.Builder
			for _, p := range append(tt.others, p1) {
				fmt.Fprintf(&in, "---\nkind: SriovNetworkNodePolicy\nmetadata: {name: %s}\nspec: {resourceName: %s, priority: %d, numVfs: %d, mtu: %d, nicSelector: {pfNames: [%q]}}\n",
					p.name, p.resource, p.priority, p.vfs, p.mtu, p.pf)
			}
			r, err := convert.Convert("in", []byte(in.String()), convert.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, pf := range r.Config.PhysicalFunctions {
				mtu := 0
				if pf.MTU != nil {
					mtu = *pf.MTU
				}
				s := fmt.Sprintf("%s %d %d", pf.Match.Names[0], *pf.NumVFs, mtu)
				if pf.ResourceName != "" {
					s += " " + strings.TrimPrefix(pf.ResourceName, "openshift.io/") + ":all"
				}
				for _, g := range pf.VirtualFunctions {
					s += " " + strings.TrimPrefix(g.ResourceName, "openshift.io/") + ":" + g.Indexes.String()
				}
				got = append(got, s)
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, " | ")); diff != "" {
				t.Errorf("(-want +got):\n%s\n%v", diff, r.Findings)
			}
		})
	}
}

func FuzzConvert(f *testing.F) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		r, err := convert.Convert("in", data, convert.Options{})
		if err == nil && r == nil {
			t.Error("neither a result nor an error")
		}
	})
}
