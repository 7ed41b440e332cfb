package deviceplugin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"
)

// dirWatch watches folders and every folder above them, as far as they exist:
// the folders themselves for what happens in them, those above because a folder,
// or any of them, may be made late, removed, or moved away.
type dirWatch struct {
	w       *fsnotify.Watcher // nil: nothing can be watched
	targets []string
	watched []folder // each after those above it
}

// folder is one folder that is watched.
type folder struct {
	path string
	id   fileID // when the watch was set
}

// follow makes the watches fit the folders that exist now. It repeats until
// nothing changed while they were set. With force they are set anew although
// they seem right.
func (d *dirWatch) follow(force bool) error {
	if d.w == nil {
		return nil
	}
	const tries = 16
	for try := 1; ; try++ {
		now := existing(d.targets)
		if slices.Equal(now, d.watched) && !force {
			return nil
		}
		d.drop()
		for _, f := range now {
			err := d.w.Add(f.path)
			if errors.Is(err, fs.ErrNotExist) && try < tries {
				break // it vanished in between: look again
			}
			if err != nil {
				return fmt.Errorf("%s: %w", f.path, err)
			}
			d.watched = append(d.watched, f)
		}
		force = false
	}
}

func (d *dirWatch) drop() {
	for _, f := range d.watched {
		// It fails when the kernel dropped the watch with its folder: fine.
		_ = d.w.Remove(f.path)
	}
	d.watched = nil
}

// existing returns those of the targets and the folders above them that exist,
// each once and after those above it.
func existing(targets []string) []folder {
	var out []folder
	for _, target := range targets {
		var one []folder
		for path := target; ; path = filepath.Dir(path) {
			if fi, err := os.Stat(path); err == nil && fi.IsDir() {
				one = append(one, folder{path: path, id: identify(fi)})
			}
			if path == filepath.Dir(path) {
				break
			}
		}
		slices.Reverse(one)
		for _, f := range one {
			if !slices.ContainsFunc(out, func(o folder) bool { return o.path == f.path }) {
				out = append(out, f)
			}
		}
	}
	return out
}
