package artifact

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
)

// libraryDirs are where Debian's packages have shared libraries.
func libraryDirs(a arch.Arch) []string {
	t := a.Triplet()
	return []string{"lib/" + t, "usr/lib/" + t, "usr/lib/" + t + "/systemd", "lib/systemd"}
}

// libraries gives the shared libraries that the programs need, from the unpacked
// packages in tree: names as the loader asks for them, with their files. A program
// that is no ELF file, or static, needs none.
func libraries(a arch.Arch, tree string, programs ...string) (map[string]string, error) {
	out := map[string]string{}
	todo := slices.Clone(programs)
	for len(todo) > 0 {
		p := todo[0]
		todo = todo[1:]
		f, err := elf.Open(p)
		if format := (*elf.FormatError)(nil); errors.As(err, &format) || errors.Is(err, io.EOF) {
			continue // EOF: it is shorter than an ELF header
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", p, err)
		}
		needed, err := f.ImportedLibraries()
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read which libraries %s needs: %w", p, err)
		}
		for _, n := range needed {
			if out[n] != "" {
				continue
			}
			file, err := findLibrary(a, tree, n)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p, err)
			}
			out[n] = file
			todo = append(todo, file)
		}
	}
	return out, nil
}

func findLibrary(a arch.Arch, tree, name string) (string, error) {
	for _, d := range libraryDirs(a) {
		p := filepath.Join(tree, d, name)
		if _, err := os.Stat(p); err == nil {
			return p, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("look for library %s: %w", name, err)
		}
	}
	return "", fmt.Errorf("needs library %s, and no package in %s has it", name, tree)
}
