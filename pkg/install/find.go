package install

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/internal/fileid"
)

// Kinds of what may have the plugin's name.
const (
	file      = "file"
	directory = "directory"
)

// hashed is a hash and the file that it is of.
type hashed struct {
	id  fileid.ID
	sum string
}

// errNoMount: the host's directory is not where the service expects it.
var errNoMount = errors.New("the host's directory is not mounted into the service")

// here is where this process sees the host's path.
func (i *Installer) here(path string) string {
	if rest, ok := strings.CutPrefix(path, "/opt/"); ok {
		return filepath.Join(i.o.OptDir, rest)
	}
	return path
}

// mounted checks that the host's directory can be seen at all: what is made below a
// mount point that is missing would be made in the service's own root.
func (i *Installer) mounted(path string) error {
	if !strings.HasPrefix(path, "/opt/") {
		return nil
	}
	info, err := os.Stat(i.o.OptDir)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoMount, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %s is no directory", errNoMount, i.o.OptDir)
	}
	return nil
}

// find says what is at the host's path.
func (i *Installer) find(path string) (found, error) {
	info, err := os.Lstat(i.here(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found{}, nil
	case err != nil:
		return found{}, err
	case info.IsDir():
		return found{kind: directory}, nil
	case info.Mode()&fs.ModeSymlink != 0:
		return found{kind: "symbolic link"}, nil
	case !info.Mode().IsRegular():
		return found{kind: "special file"}, nil
	}
	sum, err := i.sum(i.here(path))
	if errors.Is(err, fs.ErrNotExist) {
		return found{}, nil
	}
	return found{kind: file, sum: sum}, err
}

// sum is the SHA-256 of a file, from memory when the file did not change.
func (i *Installer) sum(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	id := fileid.Of(info)
	if was, ok := i.known[path]; ok && was.id == id {
		return was.sum, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if id.Settled(time.Now()) {
		i.known[path] = hashed{id, sum}
	}
	return sum, nil
}
