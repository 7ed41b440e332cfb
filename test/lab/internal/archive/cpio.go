package archive

import (
	"fmt"
	"io"
)

// Entry is a file, directory, link or device of an archive.
type Entry struct {
	Name   string // without a leading slash
	Mode   uint32 // type and permissions as in stat(2)
	Data   []byte // contents, or the target of a symbolic link
	RMajor uint32
	RMinor uint32
}

// The type bits of Entry.Mode.
const (
	ModeDir  = 0o040000
	ModeFile = 0o100000
	ModeLink = 0o120000
	ModeChar = 0o020000
)

// WriteCPIO writes an initramfs, owned by root, without times.
func WriteCPIO(w io.Writer, entries []Entry) error {
	off := 0
	put := func(b []byte) error {
		n, err := w.Write(b)
		off += n
		return err
	}
	pad := func() error {
		if r := off % 4; r != 0 {
			return put(make([]byte, 4-r))
		}
		return nil
	}
	one := func(ino int, e Entry) error {
		h := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
			ino, e.Mode, 0, 0, 1, 0, len(e.Data), 0, 0, e.RMajor, e.RMinor, len(e.Name)+1, 0)
		for _, b := range [][]byte{[]byte(h), []byte(e.Name + "\x00")} {
			if err := put(b); err != nil {
				return err
			}
		}
		if err := pad(); err != nil {
			return err
		}
		if err := put(e.Data); err != nil {
			return err
		}
		return pad()
	}
	for i, e := range entries {
		if err := one(i+1, e); err != nil {
			return fmt.Errorf("write cpio entry %s: %w", e.Name, err)
		}
	}
	if err := one(0, Entry{Name: "TRAILER!!!"}); err != nil {
		return fmt.Errorf("write cpio trailer: %w", err)
	}
	return nil
}
