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
)

// libraryDirs are where Debian's packages have shared libraries.
var libraryDirs = []string{"lib/" + triplet, "usr/lib/" + triplet, "usr/lib/" + triplet + "/systemd", "lib/systemd"}

// triplet is the name of Debian's directories of libraries, loader the file name of the
// dynamic loader.
const (
	triplet = "x86_64-linux-gnu"
	loader  = "ld-linux-x86-64.so.2"
)

// libraries gives the shared libraries that the programs need, from the unpacked
// packages in tree: names as the loader asks for them, with their files. A program
// that is no ELF file, or static, needs none.
func libraries(tree string, programs ...string) (map[string]string, error) {
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
			file, err := findLibrary(tree, n)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p, err)
			}
			out[n] = file
			todo = append(todo, file)
		}
	}
	return out, nil
}

func findLibrary(tree, name string) (string, error) {
	for _, d := range libraryDirs {
		p := filepath.Join(tree, d, name)
		if _, err := os.Stat(p); err == nil {
			return p, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("look for library %s: %w", name, err)
		}
	}
	return "", fmt.Errorf("needs library %s, and no package in %s has it", name, tree)
}
