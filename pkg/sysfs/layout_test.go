package sysfs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPathsAreSpelledHere: outside of this package and of test support no code of
// the product spells a name of /sys. Found are
//
//   - literals that begin like a path below the root of sysfs, or have a directory of
//     a device in them ("/net/");
//   - literals that are a constant of paths.go, for those that nothing else is called;
//   - literals that are passed to a function of this package.
func TestPathsAreSpelledHere(t *testing.T) {
	own := distinctive(t)
	for _, dir := range []string{"../../pkg", "../../cmd"} {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && slices.Contains([]string{"internal", "testdata", "talostest", "kerneltest", "sysfs"}, d.Name()) {
				return filepath.SkipDir
			}
			if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return nil
			}
			src, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			found, err := leaks(name, src, own)
			for _, leak := range found {
				t.Errorf("%s; use a name of pkg/sysfs", leak)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestLeaksAreFound: the guard sees what it is for, and leaves alone what is no path.
func TestLeaksAreFound(t *testing.T) {
	own := distinctive(t)
	for expr, want := range map[string]int{
		`sysfs.DeviceAttr(addr, "net")`:                      1,
		`sysfs.Join(sysfs.Join(dir, "infiniband"), name)`:    1,
		`sysfs.ReadInt(t, dir+"/mtu")`:                       1,
		`t.ReadFile("bus/pci/devices/" + addr)`:              1,
		`strings.Contains(dir, "/"+dev+"/net/")`:             1,
		`name == "driver_override"`:                          1,
		`strings.HasPrefix(entry, "virtfn")`:                 1,
		`sysfs.DeviceAttr(addr, sysfs.DirNet)`:               0,
		`linkType == "infiniband" || key == "driver"`:        0,
		`errors.New("write sriov_numvfs: " + text)`:          0,
		`sysfs.Open("/sys")`:                                 0,
		`struct{ D string "json:\"driver_override\"" }{"x"}`: 0,
	} {
		found, err := leaks("x.go", []byte("package x\nvar _ = "+expr), own)
		if err != nil || len(found) != want {
			t.Errorf("%s: found %q, %v; want %d", expr, found, err, want)
		}
	}
}

// distinctive are the constants of paths.go that are no words of other subjects:
// those with an underscore, a hyphen or a slash, and virtfn. Names of modules, misc
// devices and groups are names of what is there, not of where it is, and node_guid is
// a word of netlink and of the config too.
func distinctive(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "paths.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{"virtfn"}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, v := range spec.Values {
			thing := slices.ContainsFunc([]string{"Misc", "Module", "Group", "RDMANodeGUID"}, func(p string) bool { return strings.HasPrefix(spec.Names[i].Name, p) })
			if s, ok := literal(v); ok && !thing && strings.ContainsAny(s, "_-/") {
				out = append(out, s)
			}
		}
		return false
	})
	if len(out) < 25 {
		t.Fatalf("paths.go has %d distinctive names, that cannot be all: %q", len(out), out)
	}
	return out
}

func literal(n ast.Node) (string, bool) {
	lit, ok := n.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// leaks are the names of /sys that the file spells.
func leaks(name string, src []byte, own []string) (found []string, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, src, 0)
	if err != nil {
		return nil, err
	}
	report := func(n ast.Node, s string) {
		leak := fmt.Sprintf("%s spells %q", set.Position(n.Pos()), s)
		if !slices.Contains(found, leak) {
			found = append(found, leak)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.Field: // a tag is no path
			return n.Tag == nil
		case *ast.CallExpr:
			if !ofSysfs(n) {
				return true
			}
			for _, arg := range n.Args {
				ast.Inspect(arg, func(in ast.Node) bool {
					if s, ok := literal(in); ok && !strings.HasPrefix(s, "/sys") && s != "/" {
						report(in, s)
					}
					return true
				})
			}
		default:
			if s, ok := literal(n); ok && isPath(s, own) {
				report(n, s)
			}
		}
		return true
	})
	return found, nil
}

// ofSysfs reports whether a function of this package is called that takes names.
func ofSysfs(call *ast.CallExpr) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && pkg.Name == "sysfs" && !slices.Contains([]string{"Base", "PCIAddress", "IsPCIAddress"}, sel.Sel.Name)
}

func isPath(s string, own []string) bool {
	if slices.Contains(own, strings.Trim(s, "/")) {
		return true
	}
	for _, prefix := range []string{"bus/", "class/", "devices/", "module/", "kernel/"} {
		if strings.HasPrefix(strings.TrimPrefix(s, "/sys/"), prefix) {
			return true
		}
	}
	return strings.Contains(s, "/net/") && !strings.Contains(s, " ") && !strings.HasPrefix(s, "/proc/") && !strings.HasPrefix(s, "/dev/") ||
		strings.HasPrefix(s, "/infiniband")
}
