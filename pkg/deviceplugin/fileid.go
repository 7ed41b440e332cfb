package deviceplugin

import (
	"io/fs"
	"os"
	"syscall"
)

// fileID tells a file from another one that came to stand at the same path. The
// zero fileID is no file.
type fileID struct {
	isSet    bool
	dev, ino uint64
	// The change time is part of a socket's identity because inode numbers are
	// used again at once.
	ctimeSec, ctimeNsec int64
}

func identify(fi fs.FileInfo) fileID {
	id := fileID{isSet: true}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino = uint64(st.Dev), st.Ino
		// A folder's change time moves with its content and says nothing.
		if !fi.IsDir() {
			id.ctimeSec, id.ctimeNsec = int64(st.Ctim.Sec), int64(st.Ctim.Nsec)
		}
	}
	return id
}

// lookup identifies the file at path, without following a link.
func lookup(path string) fileID {
	fi, err := os.Lstat(path)
	if err != nil {
		return fileID{}
	}
	return identify(fi)
}

// sameInode is the identity of a socket that we hold open: the kernel cannot
// use its inode again, and somebody's chmod makes it no other file.
func (a fileID) sameInode(b fileID) bool {
	return a.isSet && b.isSet && a.dev == b.dev && a.ino == b.ino
}

// sameDir is the identity of a directory that may be there or not.
func (a fileID) sameDir(b fileID) bool {
	return a.isSet == b.isSet && a.dev == b.dev && a.ino == b.ino
}
