package fileid

import (
	"io/fs"
	"os"
	"time"
)

// ID is one file as it was seen; IDs compare with ==. The zero ID is no file.
type ID struct {
	isSet    bool
	dev, ino uint64
	// The change time tells apart files of one inode number, which the kernel
	// uses again at once, and states of one file. A directory's moves with its
	// content and is left out.
	ctimeSec, ctimeNsec int64
}

// Of identifies the file that fi describes.
func Of(fi fs.FileInfo) ID {
	id := numbers(fi)
	id.isSet = true
	if fi.IsDir() {
		id.ctimeSec, id.ctimeNsec = 0, 0
	}
	return id
}

// Lookup identifies the file at path, without following a link. The ID is zero
// when there is none, or none that can be seen.
func Lookup(path string) ID {
	fi, err := os.Lstat(path)
	if err != nil {
		return ID{}
	}
	return Of(fi)
}

// IsSet reports whether there is a file.
func (a ID) IsSet() bool { return a.isSet }

// SameInode is the identity of a file that somebody holds open: the kernel
// cannot use its inode again, and a chmod makes it no other file.
func (a ID) SameInode(b ID) bool { return a.isSet && b.isSet && a.dev == b.dev && a.ino == b.ino }

// SameDir is the identity of a directory that may be there or not.
func (a ID) SameDir(b ID) bool { return a.isSet == b.isSet && a.dev == b.dev && a.ino == b.ino }

// Settled reports whether the file was left alone for longer than a tick of the
// file system's clock at the time now: a change within the tick of the last one
// would leave the ID as it is.
func (a ID) Settled(now time.Time) bool {
	return now.Sub(time.Unix(a.ctimeSec, a.ctimeNsec)) > time.Second
}
