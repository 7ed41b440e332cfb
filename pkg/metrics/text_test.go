package metrics

import (
	"math"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/internal/promtest"
)

func TestWrite(t *testing.T) {
	got := string(Write([]Family{
		{Name: "a_total", Help: "How often.\nTwo lines, a \\.", Type: Counter, Samples: []Sample{
			{Labels: L("pf", "b", "x", "1"), Value: 2},
			{Labels: L("pf", "a", "x", `quoted "\`+"\n"), Value: 1e21},
		}},
		{Name: "nothing", Help: "Left out.", Type: Gauge},
		{Name: "b", Help: "A gauge.", Type: Gauge, Samples: []Sample{{Value: -1.5}}},
	}))
	want := `# HELP a_total How often.\nTwo lines, a \\.
# TYPE a_total counter
a_total{pf="a",x="quoted \"\\\n"} 1e+21
a_total{pf="b",x="1"} 2
# HELP b A gauge.
# TYPE b gauge
b -1.5
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := promtest.Check([]byte(got)); err != nil {
		t.Error(err)
	}
}

// Whatever a label or a value is, the text is one that can be read, and holds it.
func FuzzWrite(f *testing.F) {
	f.Add("enp1s0", 1.0)
	f.Add("a\"b\\c\nd", -1e-9)
	f.Add("\xff{}", math.Inf(1))
	f.Fuzz(func(t *testing.T, value string, n float64) {
		text := Write([]Family{{Name: "x", Help: "h" + value, Type: Gauge, Samples: []Sample{{Labels: L("l", value), Value: n}}}})
		if !utf8.ValidString(value) {
			return // HELP texts are ours
		}
		samples, err := promtest.Parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if len(samples) != 1 || samples[0].Labels["l"] != value || samples[0].Value != n && !math.IsNaN(n) {
			t.Errorf("%q, %v came back as %+v", value, n, samples)
		}
	})
}
