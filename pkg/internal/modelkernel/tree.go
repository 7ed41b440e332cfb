package modelkernel

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// node is a file, a link or a directory of the model's /sys.
type node struct {
	dir  map[string]*node
	link string        // target below the root
	read func() string // content of a file
}

func (k *Kernel) fail(op, name, value string, errno unix.Errno) error {
	return &sysfs.PathError{Op: op, Path: "/sys/" + name, Value: value, Err: errno}
}

// find walks to name. Links before the last element are followed.
func (k *Kernel) find(name string, followLast bool) (*node, string) {
	n, at := k.root, ""
	parts := strings.Split(name, "/")
	for i := 0; i < len(parts); i++ {
		c := n.dir[parts[i]]
		if c == nil {
			return nil, ""
		}
		at = strings.TrimPrefix(at+"/"+parts[i], "/")
		if c.link != "" && (i < len(parts)-1 || followLast) {
			if c, at = k.find(c.link, true); c == nil {
				return nil, ""
			}
		}
		n = c
	}
	return n, at
}

func (k *Kernel) mkdir(name string) *node {
	n := k.root
	for p := range strings.SplitSeq(name, "/") {
		c := n.dir[p]
		if c == nil {
			c = &node{dir: map[string]*node{}}
			n.dir[p] = c
		}
		n = c
	}
	return n
}

func (k *Kernel) put(name string, f *node) {
	dir, base := "", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		dir, base = name[:i], name[i+1:]
	}
	k.mkdir(dir).dir[base] = f
}

func (k *Kernel) file(name string, read func() string) { k.put(name, &node{read: read}) }
func (k *Kernel) constant(name, value string) {
	k.file(name, func() string { return value + "\n" })
}
func (k *Kernel) symlink(name, target string) { k.put(name, &node{link: target}) }

func (k *Kernel) rm(name string) {
	i := strings.LastIndexByte(name, '/')
	if n, _ := k.find(name[:i], false); n != nil {
		delete(n.dir, name[i+1:])
	}
}

// ReadFile implements sysfs.Tree. It blocks like the kernel.
func (k *Kernel) ReadFile(name string) ([]byte, error) {
	defer k.deviceLock(name, "")()
	return asked(k, func(f frozen) ([]byte, error) { return f.ReadFile(name) })
}

// ReadFile implements sysfs.Tree.
func (f frozen) ReadFile(name string) ([]byte, error) {
	k := f.k
	n, _ := k.find(name, true)
	switch {
	case n == nil:
		return nil, k.fail("open", name, "", unix.ENOENT)
	case n.read == nil:
		return nil, k.fail("read", name, "", unix.EISDIR)
	}
	return []byte(n.read()), nil
}

// ReadDir implements sysfs.Tree.
func (k *Kernel) ReadDir(name string) ([]string, error) {
	return asked(k, func(f frozen) ([]string, error) { return f.ReadDir(name) })
}

// ReadDir implements sysfs.Tree.
func (f frozen) ReadDir(name string) ([]string, error) {
	k := f.k
	n, _ := k.find(name, true)
	switch {
	case n == nil:
		return nil, k.fail("open", name, "", unix.ENOENT)
	case n.dir == nil:
		return nil, k.fail("readdir", name, "", unix.ENOTDIR)
	}
	names := make([]string, 0, len(n.dir))
	for c := range n.dir {
		names = append(names, c)
	}
	slices.Sort(names)
	return names, nil
}

// ReadLink implements sysfs.Tree.
func (k *Kernel) ReadLink(name string) (string, error) {
	return asked(k, func(f frozen) (string, error) { return f.ReadLink(name) })
}

// ReadLink implements sysfs.Tree.
func (f frozen) ReadLink(name string) (string, error) {
	k := f.k
	n, _ := k.find(name, false)
	switch {
	case n == nil:
		return "", k.fail("readlink", name, "", unix.ENOENT)
	case n.link == "":
		return "", k.fail("readlink", name, "", unix.EINVAL)
	}
	return n.link, nil
}
