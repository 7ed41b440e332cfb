package guard_test

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/talos-sriov/talos-sriov"

// Limits of the node's binaries, stripped and static.
const (
	maxDaemonBytes = 13_000_000
	maxCNIBytes    = 5_000_000
)

// Modules that the daemon must never link: it needs no Kubernetes API access,
// and the Talos machinery belongs to the workstation.
var forbidden = []string{
	"github.com/siderolabs/talos", "k8s.io/client-go", "k8s.io/api", "k8s.io/apimachinery",
	"k8s.io/kubernetes", "k8s.io/klog", "os/exec", "html/template",
}

func goTool(t *testing.T, env []string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

func TestDaemonDependencies(t *testing.T) {
	deps := strings.Fields(string(goTool(t, []string{"CGO_ENABLED=0", "GOOS=linux"}, "list", "-tags", "grpcnotrace", "-deps", "./cmd/sriovd")))
	if len(deps) < 50 {
		t.Fatalf("go list gave %d packages, that cannot be all", len(deps))
	}
	for _, dep := range deps {
		for _, bad := range forbidden {
			if dep == bad || strings.HasPrefix(dep, bad+"/") {
				t.Errorf("sriovd links %s", dep)
			}
		}
	}
}

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

// order is the direction of imports: a package may import only packages that
// stand in an earlier line, or are named beside it.
var order = [][]string{
	{"pkg/spec", "pkg/sysfs", "pkg/nic", "pkg/nl", "pkg/source", "pkg/metrics", "pkg/lock", "pkg/record"},
	{"pkg/kevent"},
	{"pkg/inventory", "pkg/install"},
	{"pkg/selection"},
	{"pkg/use"},
	{"pkg/op"},
	{"pkg/plan"},
	{"pkg/state", "pkg/apply", "pkg/pool"},
	{"pkg/health"},
	{"pkg/deviceplugin", "pkg/status"},
	{"pkg/report"},
	{"pkg/agent"},
}

// The command-line tool is for workstations, and those are not all Linux.
func TestWorkstations(t *testing.T) {
	for _, env := range [][]string{{"GOOS=darwin", "GOARCH=arm64"}, {"GOOS=linux", "GOARCH=arm64"}} {
		goTool(t, append(env, "CGO_ENABLED=0"), "build", "-o", os.DevNull, "./cmd/sriovctl")
	}
}

func TestImportOrder(t *testing.T) {
	rank := map[string]int{}
	for i, line := range order {
		for _, p := range line {
			rank[module+"/"+p] = i + 1
		}
	}
	type pkg struct {
		ImportPath string
		Dir        string
		Imports    []string
		GoFiles    []string
	}
	dec := json.NewDecoder(bytes.NewReader(goTool(t, []string{"GOOS=linux"}, "list", "-json=ImportPath,Dir,Imports,GoFiles", "./pkg/...", "./cmd/...")))
	seen := 0
	for {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		if len(p.GoFiles) > 0 && strings.Contains(p.ImportPath, "/pkg/") && !slices.Contains(p.GoFiles, "doc.go") {
			t.Errorf("%s has no doc.go", p.ImportPath)
		}
		mine, ranked := rank[p.ImportPath]
		if !ranked {
			continue
		}
		for _, imp := range p.Imports {
			if theirs, ok := rank[imp]; ok && theirs >= mine {
				t.Errorf("%s imports %s, against the order in docs/architecture.md",
					strings.TrimPrefix(p.ImportPath, module+"/"), strings.TrimPrefix(imp, module+"/"))
			}
		}
	}
	if seen < len(rank) {
		t.Errorf("saw %d packages, fewer than the order names (%d)", seen, len(rank))
	}
}
