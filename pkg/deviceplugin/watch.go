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

// dirWatch watches a folder and every folder above it, as far as they exist:
// the folder itself for what happens in it, those above because the folder, or
// any of them, may be made late, removed, or moved away.
type dirWatch struct {
	w       *fsnotify.Watcher
	target  string
	watched []folder // from the root down
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
	const tries = 16
	for try := 1; ; try++ {
		now := existing(d.target)
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

// existing returns those of target and the folders above it that exist, from
// the root down.
func existing(target string) []folder {
	var out []folder
	for path := target; ; path = filepath.Dir(path) {
		if fi, err := os.Stat(path); err == nil && fi.IsDir() {
			out = append(out, folder{path: path, id: identify(fi)})
		}
		if path == filepath.Dir(path) {
			slices.Reverse(out)
			return out
		}
	}
}
