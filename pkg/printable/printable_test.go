package printable_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/talos-sriov/talos-sriov/pkg/printable"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"enp1s0f0np0\tup\n":          "enp1s0f0np0\tup\n",
		"Gerät 网卡":                   "Gerät 网卡",
		"a\x1b[2Jb":                  `a\u001b[2Jb`,
		"a\rb\x00\x7f":               `a\u000db\u0000\u007f`,
		"csi \u009b31m":              `csi \u009b31m`,
		"byte \x9b31m":               `byte \x9b31m`,
		"turned \u202egnp.exe":       `turned \u202egnp.exe`,
		"line\u2028break":            `line\u2028break`,
		"half \xe7\xbd":              `half \xe7\xbd`,
		"replacement \ufffd is fine": "replacement \ufffd is fine",
	} {
		if got := printable.Text(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// A text that is written in pieces is the text, wherever it is cut.
func TestWriter(t *testing.T) {
	const text = "网卡 \x1b[2J\u202e ü\n"
	for size := 1; size <= len(text); size++ {
		var b strings.Builder
		w := printable.NewWriter(&b)
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			if got, err := w.Write([]byte(rest[:n])); got != n || err != nil {
				t.Fatalf("wrote %d of %d: %v", got, n, err)
			}
			rest = rest[n:]
		}
		if want := printable.Text(text); b.String() != want {
			t.Errorf("in pieces of %d: %q, want %q", size, b.String(), want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\x1b]0;b\x07")
	f.Fuzz(func(t *testing.T, s string) {
		got := printable.Text(s)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\x07\x08\r\x1b\x7f\u009b") {
			t.Errorf("%q gives %q", s, got)
		}
		if printable.Text(got) != got {
			t.Errorf("%q: printed twice it is another text", s)
		}
	})
}
