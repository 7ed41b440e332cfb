package status_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// fill gives v, of any type of the file, any value that a daemon could write.
func fill(t *rapid.T, v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		at := time.Unix(rapid.Int64Range(0, 1<<34).Draw(t, "time"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).UTC()
		v.Set(reflect.ValueOf(at))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Slice:
		if n := rapid.IntRange(0, 2).Draw(t, "len"); n > 0 { // a slice without elements is nil
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				fill(t, v.Index(i))
			}
		}
	case reflect.Map:
		n := rapid.IntRange(0, 2).Draw(t, "len")
		if n > 0 {
			v.Set(reflect.MakeMap(v.Type()))
		}
		for range n {
			key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, key)
			fill(t, elem)
			v.SetMapIndex(key, elem)
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "there") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem())
		}
	case reflect.String:
		v.SetString(rapid.OneOf(
			rapid.SampledFrom([]string{"", "held", "free", "true", "null", "~", "1e3", "0x1F", "2026-01-01", "a: b", "- x", "# y", "a\nb\n", " lead", "trail ", "'", `"`, "*a", "&a", "é…"}),
			rapid.StringMatching(`[ -~]{0,12}`), rapid.StringMatching(`[!-~][ -~\n\t]{0,12}`), // the library loses line breaks at the start of a text
		).Draw(t, "text"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "number"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "flag"))
	default:
		t.Fatalf("the file has a %s, and this test does not know it", v.Kind())
	}
}

// TestRoundTrip: whatever is written is read again, in all types of the file.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s status.Status
		fill(t, reflect.ValueOf(&s).Elem())
		s.APIVersion, s.Kind = status.APIVersion, status.Kind
		data, err := status.Encode(&s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := status.Decode(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if d := cmp.Diff(&s, got); d != "" {
			t.Fatalf("(-written +read):\n%s\n%s", d, data)
		}
		asJSON, err := json.Marshal(&s)
		if err != nil {
			t.Fatal(err)
		}
		var back status.Status
		if err := json.Unmarshal(asJSON, &back); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(&s, &back); d != "" {
			t.Fatalf("JSON (-written +read):\n%s\n%s", d, asJSON)
		}
		for _, devices := range []bool{false, true} {
			if err := status.Text(nothing{}, got, status.TextOptions{Devices: devices}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }
