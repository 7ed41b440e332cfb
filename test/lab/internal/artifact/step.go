package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Builder builds below one output directory.
type Builder struct {
	Repo string    // the repository
	Lab  string    // the directory of the lab's module
	Out  string    // _out/lab
	Log  io.Writer // progress lines
}

// NewBuilder gives the builder of the repository that the working directory is in. It
// writes progress lines to log, or else to standard error.
func NewBuilder(log io.Writer) (*Builder, error) {
	wd, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the repository: %w", err)
	}
	if log == nil {
		log = os.Stderr
	}
	for d := wd; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "test/lab/deps.sh")); err == nil {
			return &Builder{Repo: d, Lab: filepath.Join(d, "test/lab"), Out: filepath.Join(d, "_out/lab"), Log: log}, nil
		}
		if d == filepath.Dir(d) {
			return nil, fmt.Errorf("no test/lab/deps.sh in %s or above: run this inside the repository", wd)
		}
	}
}

// quiet is how long a step may take without a progress line.
const quiet = 2 * time.Second

// Lock keeps two builds out of each other's way; it returns the release.
func (b *Builder) Lock() (func(), error) {
	if err := os.MkdirAll(b.Out, 0o755); err != nil {
		return nil, fmt.Errorf("make output directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(b.Out, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// step runs do unless the outputs are there and were made with the same key.
func (b *Builder) step(what, name string, key Key, outputs []string, do func() error) error {
	stamp := filepath.Join(b.Out, "stamp", name)
	want := key.String()
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want && allExist(outputs) {
		return nil
	}
	if err := os.Remove(stamp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", what, err)
	}
	start := time.Now()
	begun := time.AfterFunc(quiet, func() { fmt.Fprintf(b.Log, "lab: %s ...", what) })
	err := do()
	if !begun.Stop() {
		fmt.Fprintf(b.Log, " %ds\n", int(time.Since(start).Round(time.Second).Seconds()))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if !allExist(outputs) {
		return fmt.Errorf("%s: done, but not all of %v are there", what, outputs)
	}
	if err := os.MkdirAll(filepath.Dir(stamp), 0o755); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := os.WriteFile(stamp, []byte(want), 0o644); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func allExist(paths []string) bool {
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return false
		}
	}
	return true
}

// Key says what an artifact is made from.
type Key struct{ parts []string }

// Add adds texts.
func (k *Key) Add(parts ...string) { k.parts = append(k.parts, parts...) }

// File adds the contents of files.
func (k *Key) File(paths ...string) error {
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			return fmt.Errorf("read build input: %w", err)
		}
		k.Add(filepath.Base(p), sum(b))
	}
	return nil
}

// Stat adds the identity of a file of the host without reading it.
func (k *Key) Stat(path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("read build input: %w", err)
	}
	k.Add(path, fmt.Sprint(fi.Size(), fi.ModTime().UnixNano()))
	return nil
}

// Tree adds the names, modes and contents of all files below a directory.
func (k *Key) Tree(dir string, want func(path string) bool) error {
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || (want != nil && !want(p)) {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if fi.Mode()&fs.ModeSymlink != 0 {
			t, err := os.Readlink(p)
			k.Add(rel, t)
			return err
		}
		b, err := os.ReadFile(p)
		k.Add(rel, fi.Mode().String(), sum(b))
		return err
	})
	if err != nil {
		return fmt.Errorf("read build inputs below %s: %w", dir, err)
	}
	return nil
}

func (k Key) String() string { return sum([]byte(strings.Join(k.parts, "\x00"))) }

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// command runs a program; its output is in the error when it fails.
func command(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if len(lines) > 30 {
			lines = slices.Concat([]string{"..."}, lines[len(lines)-30:])
		}
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, strings.Join(lines, "\n"))
	}
	return nil
}

// tool finds a program of the host, also where only root's PATH looks.
func tool(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, d := range []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		if _, err := os.Stat(filepath.Join(d, name)); err == nil {
			return filepath.Join(d, name), nil
		}
	}
	return "", fmt.Errorf("no program %s on this machine: run test/lab/deps.sh", name)
}
