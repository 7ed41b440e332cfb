package artifact

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/archive"
)

func (b *Builder) image(name string) string { return filepath.Join(b.Out, "image", name) }

func writeCPIO(path string, entries []archive.Entry) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := archive.WriteCPIO(f, entries); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// squash makes a read-only image; lz4 is quick to read under emulation.
func squash(ctx context.Context, dir, out string) error {
	mk, err := tool("mksquashfs")
	if err != nil {
		return err
	}
	tmp := out + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := command(ctx, "", nil, mk, dir, tmp, "-comp", "lz4", "-all-root", "-noappend", "-no-progress", "-quiet"); err != nil {
		return err
	}
	// A new file and not new contents: a running guest keeps the old one.
	return os.Rename(tmp, out)
}

// rootTree is a directory from which an image is made.
type rootTree struct {
	b   *Builder
	dir string
}

func (r rootTree) path(p string) string { return filepath.Join(r.dir, p) }

func (r rootTree) write(name string, data []byte, mode os.FileMode) error {
	p := r.path(name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	return os.WriteFile(p, data, mode)
}

func (r rootTree) copy(src, name string) error {
	b, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return r.write(name, b, 0o755)
}

func (r rootTree) modules(ctx context.Context, k kernel, names []string) error {
	files, err := k.modules(names)
	if err != nil {
		return err
	}
	base := filepath.Join("usr/lib/modules", k.release)
	for _, f := range files {
		ko, err := k.module(ctx, f)
		if err != nil {
			return err
		}
		if err := r.write(filepath.Join(base, strings.TrimSuffix(f, ".xz")), ko, 0o644); err != nil {
			return err
		}
	}
	for _, f := range []string{"modules.builtin", "modules.builtin.modinfo", "modules.order"} {
		if err := r.copy(filepath.Join(k.tree(), f), filepath.Join(base, f)); err != nil {
			return err
		}
	}
	depmod, err := tool("depmod")
	if err != nil {
		return err
	}
	return command(ctx, "", nil, depmod, "-b", r.dir, k.release)
}
