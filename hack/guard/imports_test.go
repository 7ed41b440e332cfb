package guard_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/talos-sriov/talos-sriov"

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

// order is the direction of imports: a package may import only packages of earlier
// lines. A pattern is one of path.Match. Every package of pkg and cmd has its place,
// but for those that only tests link (testSupport).
var order = [][]string{
	{"pkg/pci", "pkg/printable", "pkg/vfrules", "pkg/install/outcome", "pkg/use/holder", "pkg/internal/fileid"},
	{"pkg/internal/dirwatch"},
	{"pkg/spec", "pkg/lock", "pkg/source", "pkg/machineconfig"},
	{"pkg/sysfs", "pkg/plan/terms"},
	{"pkg/nl"},
	{"pkg/nic", "pkg/kevent"},
	{"pkg/inventory"},
	{"pkg/selection"},
	{"pkg/use"},
	{"pkg/use/podresources", "pkg/use/checkpoint"},
	{"pkg/op"},
	{"pkg/record"},
	{"pkg/plan"},
	{"pkg/apply"},
	{"pkg/pool"},
	{"pkg/health"},
	{"pkg/ledger"},
	{"pkg/deviceplugin"},
	{"pkg/cni/fault", "pkg/cni/delegate"},
	{"pkg/cni/netconf"},
	{"pkg/cni/attachment"},
	{"pkg/cni/vf"},
	{"pkg/cni"},
	{"pkg/install"},
	{"pkg/state"},
	{"pkg/status"},
	{"pkg/report"},
	{"pkg/decide"},
	{"pkg/metrics"},
	{"pkg/agent"},
	{"pkg/talos/versions", "pkg/talos/nodenet"},
	{"pkg/network"},
	{"pkg/convert"},
	{"pkg/talos"},
	{"cmd/*"},
}

// narrow are packages that import no others of ours than these, whatever the order
// allows them.
var narrow = map[string][]string{
	"pkg/cni/fault":         {},
	"pkg/decide":            {"pkg/apply", "pkg/cni", "pkg/health", "pkg/inventory", "pkg/op", "pkg/plan", "pkg/pool", "pkg/record", "pkg/report", "pkg/spec", "pkg/status", "pkg/use"},
	"pkg/install/outcome":   {},
	"pkg/internal/fileid":   {},
	"pkg/internal/dirwatch": {"pkg/internal/fileid"},
	"pkg/ledger":            {"pkg/inventory", "pkg/pool", "pkg/use"},
	"pkg/lock":              {},
	"pkg/metrics":           {},
	"pkg/pci":               {},
	"pkg/printable":         {},
	"pkg/source":            {"pkg/internal/dirwatch"},
	"pkg/plan/terms":        {"pkg/spec"},
	"pkg/status":            {"pkg/spec", "pkg/printable", "pkg/pci", "pkg/install/outcome", "pkg/use/holder", "pkg/plan/terms"},
	"pkg/use/holder":        {},
	"pkg/talos/versions":    {},
	"pkg/vfrules":           {},
}

// testSupport reports whether only tests may link the package.
func testSupport(pkg string) bool {
	return strings.HasSuffix(pkg, "test") || strings.Contains(pkg, "test/") || pkg == "pkg/internal/modelkernel"
}

// place is the line of the package in order, -1 for none, and the pattern there.
func place(pkg string) (line int, pattern string) {
	for i, patterns := range order {
		for _, p := range patterns {
			if ok, _ := path.Match(p, pkg); ok {
				return i, p
			}
		}
	}
	return -1, ""
}

type listed struct {
	ImportPath string
	Imports    []string
	GoFiles    []string
}

// ours are the packages of pkg and cmd with their imports of each other, without
// the module's name.
func ours(t *testing.T) []listed {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(goTool(t, []string{"GOOS=linux"}, "list", "-json=ImportPath,Imports,GoFiles", "./pkg/...", "./cmd/...")))
	var out []listed
	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module+"/")
		var imports []string
		for _, imp := range p.Imports {
			if imp, ok := strings.CutPrefix(imp, module+"/"); ok {
				imports = append(imports, imp)
			}
		}
		p.Imports = imports
		out = append(out, p)
	}
}

func TestImportOrder(t *testing.T) {
	used := map[string]bool{}
	for _, p := range ours(t) {
		if strings.HasPrefix(p.ImportPath, "pkg/") && len(p.GoFiles) > 0 && !slices.Contains(p.GoFiles, "doc.go") {
			t.Errorf("%s has no doc.go", p.ImportPath)
		}
		if testSupport(p.ImportPath) {
			continue
		}
		mine, pattern := place(p.ImportPath)
		used[pattern] = true
		if mine < 0 {
			t.Errorf("%s has no place in the order of imports", p.ImportPath)
			continue
		}
		allowed, isNarrow := narrow[pattern]
		for _, imp := range p.Imports {
			theirs, _ := place(imp)
			switch {
			case testSupport(imp):
				t.Errorf("%s imports %s, which is for tests", p.ImportPath, imp)
			case theirs >= mine:
				t.Errorf("%s imports %s, against the order of imports", p.ImportPath, imp)
			case isNarrow && !slices.Contains(allowed, imp):
				t.Errorf("%s imports %s: it may import %v alone", p.ImportPath, imp, allowed)
			}
		}
	}
	for _, line := range order {
		for _, p := range line {
			if !used[p] {
				t.Errorf("the order of imports has %s, which is not there", p)
			}
		}
	}
}
