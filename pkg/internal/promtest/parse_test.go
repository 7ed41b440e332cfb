package promtest_test

import (
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/internal/promtest"
)

func TestCheck(t *testing.T) {
	const head = "# HELP a Help.\n# TYPE a gauge\n"
	if err := promtest.Check([]byte(head + "a{x=\"1\",y=\"\\\"\\\\\\n\"} 1e+06\na 2\n")); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		head + "a 1":                    "no end",
		"a 1\n":                         "no TYPE",
		head + "a 1\na 1\n":             "twice",
		head + "a{x=\"1\" 1\n":          "no end",
		head + "a{x=1} 1\n":             "malformed label",
		head + "a{x=\"1\",x=\"2\"} 1\n": "twice",
		head + "a one\n":                "the value",
		head + "a{x=\"\\q\"} 1\n":       "escape",
		head + "a\n":                    "no value",
		"# TYPE b counter\n":            "_total",
		"# HELP c_total H.\n# TYPE c_total counter\nc_total -1\n":      "negative",
		head + "a 1\n# HELP b H.\n# TYPE b gauge\nb 1\na{x=\"1\"} 2\n": "two places",
		head + "# TYPE a gauge\n":                                      "second",
		"# HELP 1a x\n":                                                "malformed comment",
	} {
		if err := promtest.Check([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}
