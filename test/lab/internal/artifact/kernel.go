package artifact

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/archive"
)

// series are the kernels that the lab has: of the lab's own guests, and of Talos.
const (
	labKernel   = "kernel"
	talosKernel = "kernel-talos"
)

// kernel is a fetched kernel of Debian's.
type kernel struct {
	dir     string
	release string // as in /lib/modules
	key     string
}

// buildKernel fetches and unpacks a kernel for an architecture.
func (b *Builder) buildKernel(ctx context.Context, a arch.Arch, name string) (kernel, error) {
	script := filepath.Join(b.Lab, "deps.sh")
	text, err := os.ReadFile(script)
	if err != nil {
		return kernel{}, fmt.Errorf("read deps.sh: %w", err)
	}
	own := a.Name(name)
	k := kernel{dir: filepath.Join(b.Out, own)}
	var key Key
	// Only the pins decide, not the rest of the script.
	key.Add(regexp.MustCompile(`(?m)^`+strings.ReplaceAll(name, "-", "_")+`_(pin|series)=.*$`).FindAllString(string(text), -1)...)
	k.key = key.String()
	deps := filepath.Join(k.dir, "modules.dep")
	err = b.step("fetching the "+own, own, key, []string{deps}, func() error {
		cmd := exec.CommandContext(ctx, script, name, k.dir, string(a))
		cmd.Env = append(os.Environ(), "LAB_OUT="+b.Out)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("deps.sh %s: %w\n%s", name, err, out)
		}
		if k.release, err = findRelease(k.dir); err != nil {
			return err
		}
		depmod, err := tool("depmod")
		if err != nil {
			return err
		}
		if err := command(ctx, "", nil, depmod, "-b", k.dir, k.release); err != nil {
			return err
		}
		return os.Link(filepath.Join(k.tree(), "modules.dep"), deps)
	})
	if err != nil {
		return kernel{}, err
	}
	k.release, err = findRelease(k.dir)
	return k, err
}

func findRelease(dir string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "lib/modules/*"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("want one kernel in %s, found %v", dir, found)
	}
	return filepath.Base(found[0]), nil
}

func (k kernel) tree() string { return filepath.Join(k.dir, "lib/modules", k.release) }

// image is the path of the kernel itself.
func (k kernel) image() string { return filepath.Join(k.dir, "boot", "vmlinuz-"+k.release) }

// moduleName is the name of a module by its file: foo-bar.ko.xz is foo_bar.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}

// closure gives the files of the named modules and of all that they depend on,
// in an order in which they can be loaded one after the other. A name that ends in a
// slash is a directory: all modules below it. dep is the text of modules.dep. builtin
// names what needs no file.
func closure(dep, builtin string, names []string) ([]string, error) {
	files, deps := map[string]string{}, map[string][]string{}
	sc := bufio.NewScanner(strings.NewReader(dep))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		file, rest, ok := strings.Cut(sc.Text(), ":")
		if !ok {
			continue
		}
		name := moduleName(file)
		files[name] = file
		for _, d := range strings.Fields(rest) {
			deps[name] = append(deps[name], moduleName(d))
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read modules.dep: %w", err)
	}
	in := map[string]bool{}
	for _, f := range strings.Fields(builtin) {
		in[moduleName(f)] = true
	}
	var out []string
	seen := map[string]bool{}
	var add func(string) error
	add = func(name string) error {
		if seen[name] || in[name] {
			return nil
		}
		seen[name] = true
		f, ok := files[name]
		if !ok {
			return fmt.Errorf("the kernel has no module %s", name)
		}
		// modules.dep has the closest dependency first.
		for _, d := range slices.Backward(deps[name]) {
			if err := add(d); err != nil {
				return err
			}
		}
		out = append(out, f)
		return nil
	}
	for _, n := range names {
		want := []string{strings.ReplaceAll(n, "-", "_")}
		if strings.HasSuffix(n, "/") {
			want = below(files, n)
		}
		for _, w := range want {
			if err := add(w); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// below names the modules whose file is in a directory or below it.
func below(files map[string]string, dir string) []string {
	var out []string
	for name, f := range files {
		if strings.HasPrefix(f, dir) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// modules gives the load order of the named modules of the kernel.
func (k kernel) modules(names []string) ([]string, error) {
	dep, err := os.ReadFile(filepath.Join(k.tree(), "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("read modules.dep: %w", err)
	}
	builtin, err := os.ReadFile(filepath.Join(k.tree(), "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("read modules.builtin: %w", err)
	}
	return closure(string(dep), string(builtin), names)
}

// module gives a module's bytes, without compression: the guest's kernel would
// decompress it under emulation.
func (k kernel) module(ctx context.Context, file string) ([]byte, error) {
	p := filepath.Join(k.tree(), file)
	if !strings.HasSuffix(p, ".xz") {
		return os.ReadFile(p)
	}
	out, err := exec.CommandContext(ctx, "xz", "-dc", p).Output()
	if err != nil {
		return nil, fmt.Errorf("decompress %s: %w", file, err)
	}
	return out, nil
}

// entries are the modules as an initramfs has them, below dir, and the file order that
// names them one after the other as they can be loaded.
func (k kernel) entries(ctx context.Context, dir string, files []string) ([]archive.Entry, error) {
	var out []archive.Entry
	var order []string
	for _, f := range files {
		ko, err := k.module(ctx, f)
		if err != nil {
			return nil, err
		}
		name := moduleName(f) + ".ko"
		order = append(order, name)
		out = append(out, archive.Entry{Name: dir + "/" + name, Mode: archive.ModeFile | 0o755, Data: ko})
	}
	return append(out, archive.Entry{Name: dir + "/order", Mode: archive.ModeFile | 0o755, Data: []byte(strings.Join(order, "\n"))}), nil
}
