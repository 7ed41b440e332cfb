package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	const in = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":31.4}
{"Action":"pass","Package":"p","Test":"TestA/sub","Elapsed":31.4}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: needs root: no new namespace\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestC","Output":"--- SKIP: TestC (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Test":"TestD","Output":"    d_test.go:9: wrong\n"}
{"Action":"output","Package":"p","Test":"TestD","Output":"panic: test timed out after 1s\n"}
{"Action":"output","Package":"p","Test":"TestD","Output":"\n"}
{"Action":"output","Package":"p","Test":"TestD","Output":"goroutine 7 [running]:\n"}
{"Action":"output","Package":"p","Test":"TestD","Output":"main.main()\n"}
{"Action":"fail","Package":"p","Test":"TestD"}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
{"Action":"output","Package":"q","Output":"?   \tq\t[no test files]\n"}
{"Action":"skip","Package":"q"}
`
	var out strings.Builder
	s, err := read(strings.NewReader(in), &out, false)
	if err != nil {
		t.Fatal(err)
	}
	want := &summary{passed: 2, failed: 2, silent: 1, skips: []skip{
		{"p TestB", "needs root: no new namespace"},
		{"p TestC", "NO REASON: a test that skips must say what it needs"},
	}, failures: []failure{
		{"p TestD", []string{"    d_test.go:9: wrong", "panic: test timed out after 1s"}},
	}, slow: []slow{{"p TestA", 31.4}}}
	if d := cmp.Diff(want, s, cmp.AllowUnexported(summary{}, skip{}, failure{}, slow{})); d != "" {
		t.Error(d)
	}
	const stack = "panic: test timed out after 1s\n\ngoroutine 7 [running]:\nmain.main()\n"
	if got := out.String(); got != "    d_test.go:9: wrong\n"+stack+"FAIL\tp\t0.1s\n?   \tq\t[no test files]\n" {
		t.Errorf("passed on: %q", got)
	}
	out.Reset()
	s.print(&out)
	if got := out.String(); !strings.HasSuffix(got, "  took 31 s: p TestA\n  FAILED p TestD\n          d_test.go:9: wrong\n      panic: test timed out after 1s\n") {
		t.Errorf("the summary is:\n%s", got)
	}
	out.Reset()
	if _, err := read(strings.NewReader(in), &out, true); err != nil || !strings.Contains(out.String(), "quiet") {
		t.Errorf("with -v: %v\n%s", err, out.String())
	}
}
