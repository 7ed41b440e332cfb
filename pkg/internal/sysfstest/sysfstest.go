package sysfstest

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// Fixture is an unpacked archive.
type Fixture struct {
	Root string
	// Faults are the names whose reading fails, with the errno.
	Faults map[string]error
}

// Load unpacks the archive into a temporary directory.
func Load(tb testing.TB, archive string) *Fixture {
	tb.Helper()
	text, err := os.ReadFile(archive)
	if err != nil {
		tb.Fatal(err)
	}
	return Parse(tb, filepath.Base(archive), string(text))
}

// Parse unpacks an archive given as text; name is for messages.
func Parse(tb testing.TB, name, text string) *Fixture {
	tb.Helper()
	a, err := parse(text)
	if err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	root := tb.TempDir()
	if err := a.write(root); err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	return &Fixture{Root: root, Faults: a.faults}
}

// Open opens the fixture's tree for reading and writing, without its faults.
func (f *Fixture) Open(tb testing.TB) *sysfs.FS {
	tb.Helper()
	fs, err := sysfs.Open(f.Root)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := fs.Close(); err != nil {
			tb.Error(err)
		}
	})
	return fs
}

// Tree opens the fixture's tree with its faults.
func (f *Fixture) Tree(tb testing.TB) sysfs.Tree {
	tb.Helper()
	return Faulty(f.Open(tb), f.Faults)
}

// Faulty is a tree in which reading, listing or following the given names, or
// anything below them, fails. Names are physical ("devices/...").
func Faulty(t sysfs.Tree, faults map[string]error) sysfs.Tree {
	if len(faults) == 0 {
		return t
	}
	return &faulty{t, faults}
}

type faulty struct {
	sysfs.Tree
	faults map[string]error
}

func (f *faulty) check(op, name string) error {
	for at := name; at != "."; at = path.Dir(at) {
		if err := f.faults[at]; err != nil {
			return &sysfs.PathError{Op: op, Path: "/sys/" + name, Err: err}
		}
	}
	return nil
}

func (f *faulty) ReadFile(name string) ([]byte, error) {
	if err := f.check("read", name); err != nil {
		return nil, err
	}
	return f.Tree.ReadFile(name)
}

func (f *faulty) ReadDir(name string) ([]string, error) {
	if err := f.check("readdir", name); err != nil {
		return nil, err
	}
	return f.Tree.ReadDir(name)
}

func (f *faulty) ReadLink(name string) (string, error) {
	if err := f.check("readlink", name); err != nil {
		return "", err
	}
	return f.Tree.ReadLink(name)
}

// archive is a tree in memory; names are relative to the root.
type archive struct {
	dirs   []string // in the order of the text
	files  map[string]string
	links  map[string]string // name -> target, relative to the root
	faults map[string]error
}

func parse(text string) (*archive, error) {
	a := &archive{files: map[string]string{}, links: map[string]string{}, faults: map[string]error{}}
	dir := ""
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		if line[0] != ' ' {
			dir = trimmed
			a.dirs = append(a.dirs, dir)
			continue
		}
		key, rest, _ := strings.Cut(trimmed, " ")
		op, value, _ := strings.Cut(rest, " ")
		name := dir + "/" + key
		var err error
		switch op {
		case "=":
			if strings.HasPrefix(value, `"`) {
				value, err = strconv.Unquote(value)
			}
			a.files[name] = value + "\n"
		case "->":
			a.links[name] = value
		case "!":
			if a.faults[name], err = errno(value); err == nil && key == "." {
				a.faults[dir] = a.faults[name]
				delete(a.faults, name)
			}
		default:
			err = fmt.Errorf("%q: want NAME = VALUE, NAME -> TARGET or NAME ! ERRNO", trimmed)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return a, a.complete()
}

func errno(name string) (error, error) {
	if name == "EOPNOTSUPP" { // x/sys calls the number ENOTSUP
		return unix.EOPNOTSUPP, nil
	}
	for e := unix.Errno(1); e < 134; e++ {
		if unix.ErrnoName(e) == name {
			return e, nil
		}
	}
	return nil, fmt.Errorf("%q is no errno", name)
}

// complete resolves short link targets and adds what the kernel would.
func (a *archive) complete() error {
	byAddr := map[string]string{}
	for _, d := range a.dirs {
		if base := path.Base(d); sysfs.IsPCIAddress(base) {
			byAddr[base] = d
		}
	}
	for name, target := range maps.Clone(a.links) {
		dir, base := path.Split(name)
		dir = strings.TrimSuffix(dir, "/")
		switch {
		case base == sysfs.LinkDriver:
			a.links[name] = "bus/" + busOf(dir) + "/drivers/" + target
			a.dirs = append(a.dirs, a.links[name])
		case base == sysfs.LinkIOMMUGroup:
			a.links[name] = "kernel/iommu_groups/" + target
			a.dirs = append(a.dirs, a.links[name])
		case sysfs.IsPCIAddress(target):
			d, ok := byAddr[target]
			if !ok {
				return fmt.Errorf("%s: there is no device %s", name, target)
			}
			a.links[name] = d
			if strings.HasPrefix(base, sysfs.PrefixVirtFn) {
				a.links[d+"/"+sysfs.LinkPhysFn] = dir
			}
		}
	}
	for _, d := range slices.Clone(a.dirs) {
		base, parent := path.Base(d), path.Base(path.Dir(d))
		if !strings.HasPrefix(d, "devices/") {
			continue
		}
		switch parent {
		case "net", "infiniband", "infiniband_verbs", "infiniband_mad", "uio", "misc":
			a.links["class/"+parent+"/"+base] = d
			continue
		}
		switch bus := busOf(d); bus {
		case "pci":
			if !sysfs.IsPCIAddress(base) {
				continue
			}
			a.links[sysfs.Device(base)] = d
			a.uevent(d)
		case "auxiliary", "vdpa":
			a.links["bus/"+bus+"/devices/"+base] = d
		}
	}
	return nil
}

// busOf is the bus of a device directory by the form of its name.
func busOf(dir string) string {
	base := path.Base(dir)
	switch {
	case sysfs.IsPCIAddress(base):
		return "pci"
	case strings.HasPrefix(base, "vdpa"):
		return "vdpa"
	case strings.Count(base, ".") == 2:
		return "auxiliary"
	}
	return ""
}

// uevent makes a PCI function's uevent as pci_uevent does.
func (a *archive) uevent(d string) {
	name := d + "/" + sysfs.AttrUevent
	if _, ok := a.files[name]; ok {
		return
	}
	hex := func(attr string) string {
		return strings.ToUpper(strings.TrimPrefix(strings.TrimSpace(a.files[d+"/"+attr]), "0x"))
	}
	var b strings.Builder
	if driver, ok := a.links[d+"/"+sysfs.LinkDriver]; ok {
		fmt.Fprintf(&b, "DRIVER=%s\n", path.Base(driver))
	}
	fmt.Fprintf(&b, "PCI_CLASS=%s\nPCI_ID=%s:%s\nPCI_SLOT_NAME=%s\n",
		strings.TrimLeft(hex(sysfs.AttrClass), "0"), hex(sysfs.AttrVendor), hex(sysfs.AttrDevice), path.Base(d))
	a.files[name] = b.String()
}

func (a *archive) write(root string) error {
	for _, d := range a.dirs {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	for name, content := range a.files {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			return err
		}
	}
	for name, target := range a.links {
		if err := Link(root, name, target); err != nil {
			return err
		}
	}
	return nil
}

// Link makes the symbolic link name to target, both below root, relative as
// the kernel makes it.
func Link(root, name, target string) error {
	full := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	rel, err := filepath.Rel(path.Dir("/"+name), "/"+target)
	if err != nil {
		return err
	}
	return os.Symlink(rel, full)
}
