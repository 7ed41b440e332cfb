package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/talos-sriov/talos-sriov/pkg/install/outcome"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

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
// mounted yet either. changed says what was done to the host by this pass, "" for
// nothing.
func (i *Installer) Reconcile(ctx context.Context, want spec.CNI, ready bool) (is outcome.CNI, changed string) {
	path := filepath.Join(cmp.Or(want.BinDir, spec.DefaultBinDir), Name)
	if !ready {
		return outcome.CNI{
			State: outcome.Pending, Owner: outcome.Unknown, Path: path,
			Reason: "the state directory is not there yet", Hint: "it comes with the node's disk",
		}, ""
	}
	is, changed, err := i.reconcile(ctx, want.Install, path)
	if errors.Is(err, syscall.EEXIST) {
		// Somebody's program came between the pass and the installation.
		is, changed, err = i.reconcile(ctx, want.Install, path)
	}
	if err == nil {
		return is, changed
	}
	is = outcome.CNI{State: outcome.Failed, Owner: outcome.Unknown, Path: path, Reason: err.Error()}
	switch {
	case errors.Is(err, syscall.EROFS), errors.Is(err, errNoMount):
		is.State, is.Hint = outcome.Pending, "it is tried again when the mounts of the node change"
	case errors.Is(err, errNoSource):
		is.Hint = "the extension's image is broken; install it again"
	case errors.Is(err, syscall.ENOSPC):
		is.Hint = "make room on the node's disk; it is tried again"
	default:
		is.Hint = "it is tried again"
	}
	return is, ""
}

// errNoSource: the image has no plugin.
var errNoSource = errors.New("the extension's image has no CNI plugin")

func (i *Installer) reconcile(
	ctx context.Context, want spec.CNIInstall, path string,
) (is outcome.CNI, changed string, err error) {
	own := installed{Path: path, Version: i.o.Version}
	if own.Sum, err = i.sum(i.o.Source); errors.Is(err, fs.ErrNotExist) {
		return is, "", fmt.Errorf("%w: %w", errNoSource, err)
	} else if err != nil {
		return is, "", fmt.Errorf("read the image's plugin: %w", err)
	}
	record, err := i.read()
	if err != nil {
		return is, "", err
	}
	if err := i.mounted(path); err != nil {
		return is, "", err
	}
	moved, err := i.leave(record, path)
	if err != nil {
		return is, "", err
	}
	f, err := i.find(path)
	if err != nil {
		return is, "", err
	}
	act, is := decide(want, f, record, own)
	switch act {
	case put:
		if err := i.put(ctx, record, own, f.kind != ""); err != nil {
			return is, "", fmt.Errorf("install %s: %w", path, err)
		}
		changed = "installed version " + own.Version
		if f.kind != "" {
			changed = "replaced by version " + own.Version
		}
	case remove:
		if n, err := i.attached(); err != nil {
			return is, "", err
		} else if n > 0 {
			was, _ := ours(record, path, f.sum)
			return outcome.CNI{
				State: outcome.Pending, Owner: outcome.Extension, Path: path, Version: cmp.Or(was.Version, own.Version),
				Reason: fmt.Sprintf("not removed yet: interfaces of pods that it has to reclaim: %d", n),
				Hint:   "delete the pods that " + i.o.Attachments + " names by their sandbox",
			}, "", nil
		}
		if err := i.remove(path); err != nil {
			return is, "", fmt.Errorf("remove %s: %w", path, err)
		}
		changed = "removed"
	case keep:
		if is.State == outcome.Installed {
			err = i.remember(record, own)
		}
	}
	if changed == "" && moved != "" {
		changed = "removed " + moved
	}
	return is, changed, err
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
