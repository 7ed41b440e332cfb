package deviceplugin

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/internal/fileid"
)

// place is where the kubelet finds a pool. The socket is in a directory of our
// own below /run and listens all the time; in the kubelet's directory is a
// symbolic link to it, which the kubelet follows in both ways of registration
// (pkg/kubelet/pluginmanager/pluginwatcher and pkg/kubelet/cm/devicemanager use
// stat(2) and dial the path). A bound socket keeps its filesystem busy, a link to
// one does not: with sockets below /var a node could not unmount it to shut down.
//
// Every name is used once. From Kubernetes 1.37 on a kubelet refuses to register
// a path that it is connected to, even when that connection was made for an
// earlier process or for an attempt that we gave up.
type place struct {
	resource string
	dir      string // the kubelet's directory, where the link is
	sockets  string // the directory of our sockets
	seenAs   string // the same directory as the kubelet sees it
	other    string // where another plugin for the resource has its socket

	// Of the server's goroutine alone.
	lis     *listener
	opening fault
	linking fault
	to      string // what the link says

	at atomic.Pointer[whereabouts] // written by the server's goroutine alone
}

// whereabouts are what there is, and what is being made: others see that, dial it and
// remove it before the call that makes it has returned.
type whereabouts struct{ now, soon paths }

// paths are full, "" for none.
type paths struct{ socket, link string }

func newPlace(resource, dir, sockets, seenAs string) *place {
	p := &place{
		resource: resource, dir: dir, sockets: sockets, seenAs: seenAs,
		other: filepath.Join(dir, SocketName(dir, resource)),
	}
	p.at.Store(&whereabouts{})
	return p
}

// listener is a socket that listens.
type listener struct {
	net.Listener
	path   string
	id     fileid.ID
	opened time.Time
	ended  chan error // cap 1: why nobody accepts any more
}

// paths are the socket and the link as they are now, "" for none.
func (p *place) paths() (socket, link string) {
	at := p.at.Load()
	return at.now.socket, at.now.link
}

// visibleLink is the link that the kubelet can find now, "" for none.
func (p *place) visibleLink() string {
	at := p.at.Load()
	return cmp.Or(at.now.link, at.soon.link)
}

// concerns reports whether a file that comes or goes at the path makes a difference.
func (p *place) concerns(path string) bool {
	at := p.at.Load()
	return slices.Contains([]string{at.now.socket, at.now.link, at.soon.socket, at.soon.link, p.other}, path)
}

// setSocket and setLink take note of what is there now, and that nothing is being
// made any more.
func (p *place) setSocket(path string) {
	p.at.Store(&whereabouts{now: paths{path, p.at.Load().now.link}})
}

func (p *place) setLink(path string) {
	p.at.Store(&whereabouts{now: paths{p.at.Load().now.socket, path}})
}

// making takes note of what is being made.
func (p *place) making(soon paths) { p.at.Store(&whereabouts{p.at.Load().now, soon}) }

// fault is why something cannot be made, and when that is tried again.
type fault struct {
	retry

	err error
}

func (f *fault) failed(now time.Time, err error) error {
	f.retry, f.err = f.next(now), err
	return err
}

func (f *fault) ok() { *f = fault{} }

// check takes note of what others did to the socket and the link, and reports
// whether one of them is lost. Calls on open connections go on.
func (p *place) check(now time.Time) (lost bool) {
	if p.lis != nil {
		var err error
		select {
		case err = <-p.lis.ended:
			err = fmt.Errorf("socket %s stopped accepting connections: %w", p.lis.path, err)
			if now.Sub(p.lis.opened) >= steadyAfter {
				p.opening.ok()
			}
			_ = p.opening.failed(now, err)
		default:
		}
		if err != nil || missing(p.lis.path, p.lis.id) {
			p.unlink()
			p.close()
			lost = true
		}
	}
	if _, link := p.paths(); link != "" {
		to, err := os.Readlink(link)
		// What cannot be read is taken for what it was.
		gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EINVAL)
		if gone || (err == nil && to != p.to) {
			p.setLink("")
			lost = true
		}
	}
	return lost
}

// missing reports whether path is certainly not the file that id says.
func missing(path string, id fileid.ID) bool {
	fi, err := os.Lstat(path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
	}
	return !fileid.Of(fi).SameInode(id)
}

// listen makes sure that there is a listener. A new one is returned.
func (p *place) listen(ctx context.Context, now time.Time) (*listener, error) {
	if p.lis != nil {
		return nil, nil
	}
	if p.opening.err != nil && now.Before(p.opening.after) {
		return nil, p.opening.err
	}
	lis, err := p.bind(ctx)
	if err != nil {
		return nil, p.opening.failed(now, err)
	}
	p.opening.err = nil
	p.lis = lis
	p.setSocket(lis.path)
	return lis, nil
}

// names is how many random names are tried before it is an error that each of
// them is there already.
const names = 8

// unique makes what a name in the directory dir leads to, under one that is not there
// yet. which is how people call the directory.
func (p *place) unique(dir, which string, create func(path string) error) (path string, err error) {
	for range names + 1 {
		var tag [4]byte
		_, _ = rand.Read(tag[:]) // it never fails
		path = filepath.Join(dir, fileName(dir, p.resource, "-"+hex.EncodeToString(tag[:])+socketSuffix))
		if len(path) > maxSocketPath {
			return "", fmt.Errorf("socket %s: the path has %d bytes, a unix socket can have %d: choose a shorter %s directory", path, len(path), maxSocketPath, which)
		}
		if err = create(path); !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return path, err
}

func (p *place) bind(ctx context.Context) (*listener, error) {
	if err := os.MkdirAll(p.sockets, 0o700); err != nil {
		return nil, fmt.Errorf("create the directory of our sockets: %w: the service needs the host's /run, writable", err)
	}
	var lis net.Listener
	path, err := p.unique(p.sockets, "run", func(path string) (err error) {
		p.making(paths{socket: path})
		if lis, err = (&net.ListenConfig{}).Listen(ctx, "unix", path); err != nil {
			err = fmt.Errorf("create our socket: %w", err)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if u, ok := lis.(*net.UnixListener); ok {
		// By path, it could remove somebody else's.
		u.SetUnlinkOnClose(false)
	}
	return &listener{Listener: lis, path: path, id: fileid.Lookup(path), opened: time.Now(), ended: make(chan error, 1)}, nil
}

// expose makes sure that the kubelet's directory has a link to our socket. A
// directory that is not there (yet) is no error.
func (p *place) expose(ctx context.Context, now time.Time) error {
	if _, link := p.paths(); link != "" || p.lis == nil {
		return nil
	}
	if p.linking.err != nil && now.Before(p.linking.after) && fileid.Lookup(p.other).IsSet() {
		return p.linking.err
	}
	err := p.makeLink(ctx)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		p.linking.ok()
		return nil
	}
	return p.linking.failed(now, err)
}

func (p *place) makeLink(ctx context.Context) error {
	if fileid.Lookup(p.other).IsSet() {
		if err := p.clear(ctx); err != nil {
			return err
		}
	}
	to := filepath.Join(p.seenAs, filepath.Base(p.lis.path))
	path, err := p.unique(p.dir, "kubelet", func(path string) error {
		p.making(paths{link: path})
		if err := os.Symlink(to, path); err != nil {
			return fmt.Errorf("create the link to our socket: %w", err)
		}
		return nil
	})
	if err == nil {
		p.to = to
		p.setLink(path)
	}
	return err
}

// clear removes a dead socket of another plugin, or of an earlier version of
// ours, and nothing else.
func (p *place) clear(ctx context.Context) error {
	switch err := ask(ctx, p.other); {
	case err == nil:
		return fmt.Errorf("socket %s: another process serves this resource (is the SR-IOV device plugin still running on this node?): stop it, or use another resourceName", p.other)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case !nobodyListens(err):
		return fmt.Errorf("socket %s: something is in the way: %w: remove it", p.other, err)
	}
	fi, err := os.Lstat(p.other)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("find another plugin's socket: %w", err)
	case fi.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("%s: is in the way and no socket (%s): remove it", p.other, fi.Mode().Type())
	}
	return discard(p.other, "the socket of an earlier run")
}

// unlink removes our link.
func (p *place) unlink() {
	_, link := p.paths()
	if link == "" {
		return
	}
	p.setLink("")
	if to, err := os.Readlink(link); err == nil && to == p.to {
		// One that stays is removed by the next start, or by the kubelet's.
		_ = os.Remove(link)
	}
}

// close ends the listener and removes its socket.
func (p *place) close() {
	if p.lis == nil {
		return
	}
	if !missing(p.lis.path, p.lis.id) {
		// One that stays is removed by the next start, or by the next boot.
		_ = os.Remove(p.lis.path)
	}
	_ = p.lis.Close()
	p.lis = nil
	p.setSocket("")
}

// sooner is the earlier of the time until a failure is due to be tried again and
// of again, where 0 is never.
func (p *place) sooner(again time.Duration, now time.Time) time.Duration {
	for _, r := range []*fault{&p.opening, &p.linking} {
		if r.err == nil {
			continue
		}
		if d := max(r.after.Sub(now), time.Millisecond); again == 0 || d < again {
			again = d
		}
	}
	return again
}
