//go:build guard

package guard_test

import (
	"debug/elf"
	"os"
	"path/filepath"
	"testing"
)

// Limits of the node's binaries, stripped and static.
const (
	maxDaemonBytes = 16_000_000
	maxCNIBytes    = 5_000_000
)

func TestSizeAndStaticity(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			testBinary(t, "sriovd", arch, maxDaemonBytes)
			testBinary(t, "sriov-cni", arch, maxCNIBytes)
		})
	}
}

func testBinary(t *testing.T, name, arch string, limit int64) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), name)
	goTool(t, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch},
		"build", "-tags", "grpcnotrace", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", bin, "./cmd/"+name)
	info, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %s: %d bytes (%.1f MiB)", name, arch, info.Size(), float64(info.Size())/(1<<20))
	if info.Size() > limit {
		t.Errorf("%s for %s has %d bytes, the limit is %d", name, arch, info.Size(), limit)
	}
	f, err := elf.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s for %s is dynamically linked", name, arch)
		}
	}
}

// The command-line tool is for workstations, and those are not all Linux.
func TestWorkstations(t *testing.T) {
	for _, env := range [][]string{{"GOOS=darwin", "GOARCH=arm64"}, {"GOOS=linux", "GOARCH=arm64"}} {
		goTool(t, append(env, "CGO_ENABLED=0"), "build", "-o", os.DevNull, "./cmd/sriovctl")
	}
}
