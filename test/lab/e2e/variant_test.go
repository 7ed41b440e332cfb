package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const extension = "../../../_out/extension/linux-amd64"

// variant is the project's extension with more arguments for the daemon: the same
// program, with shorter times than an operator has. The result is for
// lab.Options.Extensions.
func variant(t *testing.T, args ...string) []string {
	t.Helper()
	dir := copied(t)
	const run = "    - run\n"
	replace(t, filepath.Join(dir, "rootfs/usr/local/etc/containers/sriov.yaml"), run, run+"    - "+strings.Join(args, "\n    - ")+"\n")
	return []string{dir}
}

// release is the project's extension as another version of it, from the same source.
func release(t *testing.T, version string) []string {
	t.Helper()
	dir := copied(t)
	manifest := filepath.Join(dir, "manifest.yaml")
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^  version: ".*"$`).FindString(string(text))
	replace(t, manifest, line, fmt.Sprintf("  version: %q", version))
	for _, name := range []string{"sriovd", "sriov-cni"} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "grpcnotrace", "-trimpath", "-buildvcs=false",
			"-ldflags", "-s -w -buildid= -X main.version="+version, "-o", filepath.Join(dir, "rootfs/usr/local/lib/containers/sriov", name), "./cmd/"+name)
		cmd.Dir, cmd.Env = "../../..", append(os.Environ(), "GOFLAGS=", "CGO_ENABLED=0", "GOARCH=amd64")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return []string{dir}
}

// copied is a copy of the project's extension.
func copied(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(extension)); err != nil {
		t.Fatalf("copy the extension (make extension-root builds it): %v", err)
	}
	return dir
}

// replace replaces what is once in a file.
func replace(t *testing.T, file, from, to string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if from == "" || bytes.Count(text, []byte(from)) != 1 {
		t.Fatalf("%s does not have %q once:\n%s", file, from, text)
	}
	if err := os.WriteFile(file, bytes.Replace(text, []byte(from), []byte(to), 1), 0o644); err != nil {
		t.Fatal(err)
	}
}
