package fileid

import (
	"io/fs"
	"syscall"
)

// numbers are the device, the inode and the change time of the file.
func numbers(fi fs.FileInfo) ID {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ID{}
	}
	return ID{
		dev: uint64(st.Dev), ino: st.Ino,
		ctimeSec: int64(st.Ctim.Sec), ctimeNsec: int64(st.Ctim.Nsec),
	}
}
