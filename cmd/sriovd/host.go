package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// hostRoot is where the extension's service has the host's root.
const hostRoot = "/host"

// onTheHost makes the defaults, which are below root, those of a daemon that runs on the
// host itself and not in the extension's container: there root does not exist.
func onTheHost(fs *flag.FlagSet, root string) error {
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		return nil // also when it cannot be known: errors of the paths below it say why
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		if rest, ok := strings.CutPrefix(f.Value.String(), root); ok && !given[f.Name] {
			errs = append(errs, fs.Set(f.Name, rest))
		}
	})
	return errors.Join(errs...)
}

func (f *runFlags) bootID() (string, error) {
	data, err := os.ReadFile(filepath.Join(f.proc, "sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
