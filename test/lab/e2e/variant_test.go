package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const extension = "../../../_out/extension/linux-amd64"

// variant is the project's extension with more arguments for the daemon: the same
// program, with shorter times than an operator has. The result is for
// lab.Options.Extensions.
func variant(t *testing.T, args ...string) []string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(extension)); err != nil {
		t.Fatalf("copy the extension (make extension-root builds it): %v", err)
	}
	file := filepath.Join(dir, "rootfs/usr/local/etc/containers/sriov.yaml")
	spec, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const run = "    - run\n"
	if bytes.Count(spec, []byte(run)) != 1 {
		t.Fatalf("%s has no argument `run`:\n%s", file, spec)
	}
	spec = bytes.Replace(spec, []byte(run), []byte(run+"    - "+strings.Join(args, "\n    - ")+"\n"), 1)
	if err := os.WriteFile(file, spec, 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{dir}
}
