package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/internal/fileid"
)

// dial connects to a socket.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", socket)
}

// nobodyListens reports whether the error of a connection says for certain that
// nobody listens on the socket: there is no file, or a dead one.
func nobodyListens(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

// ask connects to a socket to learn whether somebody listens; nil says so.
func ask(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := dial(ctx, socket)
	if err == nil {
		_ = conn.Close()
	}
	return err
}

// sweeper removes what processes that ended without notice left behind: sockets
// in our own directory and links to them in the kubelet's directories. In both it
// removes only what leads to a socket that certainly nobody listens on.
type sweeper struct {
	sockets string
	seenAs  string
	links   []string    // the directories that may have links
	seen    []fileid.ID // of these, at the last sweep; nil before the first
}

// sweep removes stale links when one of their directories is another one than at
// the last call, as at the start and after a mount, and stale sockets at the first
// call, when nobody else of this process makes some.
func (w *sweeper) sweep(ctx context.Context) error {
	first := w.seen == nil
	now := make([]fileid.ID, 0, len(w.links))
	for _, dir := range w.links {
		now = append(now, fileid.Lookup(dir))
	}
	if slices.EqualFunc(w.seen, now, fileid.ID.SameDir) {
		return nil
	}
	w.seen = now
	// The links first: they are judged by the sockets.
	var errs []error
	for _, dir := range w.links {
		errs = append(errs, w.each(dir, fs.ModeSymlink, func(path string) error {
			to, err := os.Readlink(path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is left as it is: %w", path, err)
			}
			if filepath.Dir(to) != filepath.Clean(w.seenAs) {
				return nil
			}
			return removeStale(ctx, path, filepath.Join(w.sockets, filepath.Base(to)))
		}))
	}
	if first {
		errs = append(errs, w.each(w.sockets, fs.ModeSocket, func(path string) error {
			return removeStale(ctx, path, path)
		}))
	}
	return errors.Join(errs...)
}

func (w *sweeper) each(dir string, kind fs.FileMode, f func(path string) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the sockets of earlier runs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if e.Type()&kind != 0 && strings.HasSuffix(e.Name(), socketSuffix) {
			errs = append(errs, f(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// removeStale removes path when nobody listens on socket.
func removeStale(ctx context.Context, path, socket string) error {
	switch err := ask(ctx, socket); {
	case err == nil:
		return nil
	case nobodyListens(err):
		return discard(path, "what an earlier run left behind")
	default:
		return fmt.Errorf("%s is left as it is: %w", path, err)
	}
}
