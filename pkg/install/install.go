package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/install/outcome"
	"github.com/talos-sriov/talos-sriov/pkg/internal/fileid"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// Kinds of what may have the plugin's name.
const (
	file      = "file"
	directory = "directory"
)

// maxRecord is how many installed programs are remembered.
const maxRecord = 16

// tmpPrefix starts the names of programs that are being written.
const tmpPrefix = ".sriov-install-"

// Options say where everything is.
type Options struct {
	// Source is the plugin in the extension's image.
	Source string
	// OptDir is where the host's /opt is mounted; /var/lib is at its own place.
	OptDir string
	// Record is the file that remembers what was installed.
	Record string
	// Attachments is the directory in which the plugin keeps a file for each
	// interface of a pod. While there is one, the plugin is not removed: without
	// it the pod could not end.
	Attachments string
	// Version is that of Source.
	Version string
	// Point is a place to crash, for tests; may be nil.
	Point func(string)
}

// Installer keeps one plugin installed. It is not safe for concurrent use.
type Installer struct {
	o     Options
	known map[string]hashed // what was hashed last, by path
}

// hashed is a hash and the file that it is of.
type hashed struct {
	id  fileid.ID
	sum string
}

// New returns an installer that has not touched anything.
func New(o Options) *Installer {
	if o.Point == nil {
		o.Point = func(string) {}
	}
	return &Installer{o: o, known: map[string]hashed{}}
}

// Reconcile compares the place with what is wanted and makes it so. It is cheap when
// nothing changed since the last pass. ready says that the record's directory is in
// use; before that nothing is concluded, because the host's directories are not
// mounted yet either.
func (i *Installer) Reconcile(ctx context.Context, want spec.CNI, ready bool) Report {
	dir := want.BinDir
	if dir == "" {
		dir = spec.DefaultBinDir
	}
	path := filepath.Join(dir, Name)
	if !ready {
		return Report{State: outcome.Pending, Owner: outcome.Unknown, Path: path, Reason: "the state directory is not there yet", Hint: "it comes with the node's disk"}
	}
	r, err := i.reconcile(ctx, want.Install, path)
	if errors.Is(err, syscall.EEXIST) {
		// Somebody's program came between the pass and the installation.
		r, err = i.reconcile(ctx, want.Install, path)
	}
	if err == nil {
		return r
	}
	r = Report{State: outcome.Failed, Owner: outcome.Unknown, Path: path, Reason: err.Error()}
	switch {
	case errors.Is(err, syscall.EROFS), errors.Is(err, errNoMount):
		r.State, r.Hint = outcome.Pending, "it is tried again when the mounts of the node change"
	case errors.Is(err, errNoSource):
		r.Hint = "the extension's image is broken; install it again"
	case errors.Is(err, syscall.ENOSPC):
		r.Hint = "make room on the node's disk; it is tried again"
	default:
		r.Hint = "it is tried again"
	}
	return r
}

// errNoMount: the host's directory is not where the service expects it.
var errNoMount = errors.New("the host's directory is not mounted into the service")

// errNoSource: the image has no plugin.
var errNoSource = errors.New("the extension's image has no CNI plugin")

func (i *Installer) reconcile(ctx context.Context, want spec.CNIInstall, path string) (Report, error) {
	own := installed{Path: path, Version: i.o.Version}
	var err error
	if own.Sum, err = i.sum(i.o.Source); errors.Is(err, fs.ErrNotExist) {
		return Report{}, fmt.Errorf("%w: %w", errNoSource, err)
	} else if err != nil {
		return Report{}, fmt.Errorf("read the image's plugin: %w", err)
	}
	record, err := i.read()
	if err != nil {
		return Report{}, err
	}
	if err := i.mounted(path); err != nil {
		return Report{}, err
	}
	moved, err := i.leave(record, path)
	if err != nil {
		return Report{}, err
	}
	f, err := i.find(path)
	if err != nil {
		return Report{}, err
	}
	act, r := decide(want, f, record, own)
	switch act {
	case put:
		if err := i.put(ctx, record, own, path, f.kind != ""); err != nil {
			return Report{}, fmt.Errorf("install %s: %w", path, err)
		}
		r.Changed = "installed version " + own.Version
		if f.kind != "" {
			r.Changed = "replaced by version " + own.Version
		}
	case remove:
		if n, err := i.attached(); err != nil {
			return Report{}, err
		} else if n > 0 {
			return Report{
				State: outcome.Pending, Owner: outcome.Extension, Path: path, Version: versionOf(record, own, f),
				Reason: fmt.Sprintf("not removed yet: interfaces of pods that it has to reclaim: %d", n),
				Hint:   "delete the pods that " + i.o.Attachments + " names by their sandbox",
			}, nil
		}
		if err := i.remove(path); err != nil {
			return Report{}, fmt.Errorf("remove %s: %w", path, err)
		}
		r.Changed = "removed"
	case keep:
		if r.State == outcome.Installed {
			err = i.remember(record, own)
		}
	}
	if r.Changed == "" && moved != "" {
		r.Changed = "removed " + moved
	}
	return r, err
}

// attached counts the interfaces of pods that the plugin has to reclaim.
func (i *Installer) attached() (int, error) {
	entries, err := os.ReadDir(i.o.Attachments)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("list attached pods: %w", err)
	}
	n := 0
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			n++
		}
	}
	return n, nil
}

func versionOf(record []installed, own installed, f found) string {
	if was, ok := ours(record, own.Path, f.sum); ok {
		return was.Version
	}
	return own.Version
}

// leave removes what was installed at other places than path: binDir changed.
func (i *Installer) leave(record []installed, path string) (string, error) {
	var left []string
	for _, p := range record {
		if p.Path == path {
			continue
		}
		f, err := i.find(p.Path)
		if err != nil {
			return "", err
		}
		if f.kind != file || f.sum != p.Sum {
			continue
		}
		if err := i.remove(p.Path); err != nil {
			return "", fmt.Errorf("remove %s: %w", p.Path, err)
		}
		left = append(left, p.Path)
	}
	return strings.Join(left, ", "), nil
}

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

// put copies the image's plugin to the path: under another name first, on disk
// before it gets its own. A program that runs just then keeps its file. Without
// over, one that has appeared at the path meanwhile is EEXIST.
func (i *Installer) put(ctx context.Context, record []installed, own installed, path string, over bool) (err error) {
	to := i.here(path)
	dir := filepath.Dir(to)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := sweep(dir); err != nil {
		return err
	}
	from, err := os.Open(i.o.Source)
	if err != nil {
		return err
	}
	defer from.Close()
	tmp, err := os.CreateTemp(dir, tmpPrefix+"*")
	if err != nil {
		return err
	}
	i.o.Point("temporary file made")
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(tmp, h), from)
	i.o.Point("temporary file written")
	if err == nil {
		err = tmp.Chmod(0o755)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != own.Sum {
		return fmt.Errorf("%s changed while it was copied", i.o.Source)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := i.remember(record, own); err != nil {
		return err
	}
	i.o.Point("record written")
	if err := rename(tmp.Name(), to, over); err != nil {
		return err
	}
	i.o.Point("renamed")
	return syncDir(dir)
}

// rename gives a file its name, over another file or not. A file system that
// cannot tell the two apart (EINVAL) is asked for the first.
func rename(from, to string, over bool) error {
	if !over {
		err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
			return err
		}
	}
	return os.Rename(from, to)
}

// sweep removes what a crashed run left half written.
func sweep(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, tmpPrefix+"*"))
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (i *Installer) remove(path string) error {
	err := os.Remove(i.here(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	i.o.Point("removed")
	return syncDir(filepath.Dir(i.here(path)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Overlay and network filesystems may not know how.
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}

// read returns the record, oldest first. A damaged one is as good as none: what
// was installed then counts as somebody else's.
func (i *Installer) read() ([]installed, error) {
	data, err := os.ReadFile(i.o.Record)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of installed programs: %w", err)
	}
	var out []installed
	if json.Unmarshal(data, &out) != nil {
		return nil, nil //nolint:nilerr // see above
	}
	return out, nil
}

// remember adds the program to the record, as the newest one.
func (i *Installer) remember(record []installed, p installed) error {
	var next []installed
	for _, q := range record {
		if q == p {
			return nil
		}
		if q.Path != p.Path || q.Sum != p.Sum {
			next = append(next, q)
		}
	}
	next = append(next, p)
	if n := len(next) - maxRecord; n > 0 {
		next = next[n:]
	}
	data, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the record of installed programs: %w", err)
	}
	if err := renameio.WriteFile(i.o.Record, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the record of installed programs: %w", err)
	}
	return nil
}
