package checkpoint_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/talos-sriov/talos-sriov/pkg/use"
	"github.com/talos-sriov/talos-sriov/pkg/use/checkpoint"
)

// fixtures are the content of checkpoints, and what is in them, by file.
func fixtures(t testing.TB) map[string][2]string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	out := map[string][2]string{}
	for _, path := range paths {
		ar, err := txtar.ParseFile(path)
		if err != nil || len(ar.Files) != 2 {
			t.Fatalf("%s: %v", path, err)
		}
		out[path] = [2]string{string(ar.Files[0].Data), string(ar.Files[1].Data)}
	}
	return out
}

func lines(entries []use.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%s %s %s %s\n", e.PodUID, e.Container, e.Resource, strings.Join(e.Devices, ","))
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for path, f := range fixtures(t) {
		got, err := checkpoint.Parse([]byte(f[0]))
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if d := cmp.Diff(f[1], lines(got)); d != "" {
			t.Errorf("%s: %s", path, d)
		}
	}
}

// What is in another form is an error, and never a checkpoint without entries.
func TestParseOtherForms(t *testing.T) {
	entries := func(e string) string { return `{"Data":{"PodDeviceEntries":[` + e + `]}}` }
	for name, data := range map[string]string{
		"empty":             "",
		"cut off":           `{"Data":{"PodDeviceEntries":[{"PodUID":"u"`,
		"an empty object":   `{}`,
		"null":              `null`,
		"a list":            `[]`,
		"no entries":        `{"Data":{"RegisteredDevices":{}}}`,
		"before 1.10":       `{"PodDeviceEntries":[],"RegisteredDevices":{}}`,
		"entries by pod":    `{"Data":{"PodDeviceEntries":{"u":{}}}}`,
		"no pod":            entries(`{"ResourceName":"a/b","DeviceIDs":["d"]}`),
		"no resource":       entries(`{"PodUID":"u","DeviceIDs":["d"]}`),
		"no devices":        entries(`{"PodUID":"u","ResourceName":"a/b"}`),
		"devices elsewhere": entries(`{"PodUID":"u","ResourceName":"a/b","Devices":["d"]}`),
		"objects":           entries(`{"PodUID":"u","ResourceName":"a/b","DeviceIDs":[{"ID":"d"}]}`),
		"a text":            entries(`{"PodUID":"u","ResourceName":"a/b","DeviceIDs":"d"}`),
		"two documents":     `{"Data":{"PodDeviceEntries":[]}}{"Data":{"PodDeviceEntries":[]}}`,
	} {
		if got, err := checkpoint.Parse([]byte(data)); !errors.Is(err, checkpoint.ErrFormat) || got != nil {
			t.Errorf("%s: %v, %v, want ErrFormat", name, got, err)
		}
	}
	for _, none := range []string{"null", "{}", "[]", `{"0":null}`} {
		if got, err := checkpoint.Parse([]byte(entries(`{"PodUID":"u","ResourceName":"a/b","DeviceIDs":` + none + `}`))); err != nil || len(got) != 1 || len(got[0].Devices) != 0 {
			t.Errorf("devices %s: %v, %v, want an entry without devices", none, got, err)
		}
	}
}

// FuzzParse holds that whatever reads as entries names a pod and a resource, and is what
// a kubelet that writes it again would say.
func FuzzParse(f *testing.F) {
	for _, fixture := range fixtures(f) {
		f.Add([]byte(fixture[0]))
	}
	f.Add([]byte(`{"Data":{"PodDeviceEntries":[{"PodUID":"u","ResourceName":"a/b","DeviceIDs":{"0":null}}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := checkpoint.Parse(data)
		if err != nil {
			if !errors.Is(err, checkpoint.ErrFormat) || entries != nil {
				t.Fatalf("%v, %v", entries, err)
			}
			return
		}
		type written struct {
			PodUID, ContainerName, ResourceName string
			DeviceIDs                           map[int][]string
		}
		all := []written{}
		for _, e := range entries {
			if e.PodUID == "" || e.Resource == "" || !slices.IsSorted(e.Devices) {
				t.Fatalf("%+v", e)
			}
			all = append(all, written{e.PodUID, e.Container, e.Resource, map[int][]string{0: e.Devices}})
		}
		again, err := json.Marshal(map[string]any{"Data": map[string]any{"PodDeviceEntries": all}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := checkpoint.Parse(again)
		if d := lines(got); err != nil || d != lines(entries) {
			t.Errorf("%v: %s, then %s", err, lines(entries), d)
		}
	})
}

func TestParseLogDir(t *testing.T) {
	uid, pod, ok := checkpoint.ParseLogDir("default_web-0_6f2d3a1e-58c7-4b0c-9d5e-0a1b2c3d4e5f")
	if !ok || uid != "6f2d3a1e-58c7-4b0c-9d5e-0a1b2c3d4e5f" || pod != (use.Pod{Namespace: "default", Name: "web-0"}) {
		t.Errorf("%q %+v %v", uid, pod, ok)
	}
	for _, name := range []string{"", "a_b", "a_b_c_d", "_b_c", "a__c", "a_b_", "6f2d3a1e-58c7-4b0c-9d5e-0a1b2c3d4e5f"} {
		if _, _, ok := checkpoint.ParseLogDir(name); ok {
			t.Errorf("%q is a pod's", name)
		}
	}
}
