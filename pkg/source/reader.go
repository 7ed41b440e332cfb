package source

import (
	"bytes"
	"errors"
	"slices"
	"syscall"
	"time"
)

// mostSettles bounds for how long events put off reading, in multiples of
// Options.Settle. Half of it is for events that do not concern the config,
// the rest for a config that is rewritten all the time.
const mostSettles = 20

// reader decides whether what is read is the config, and news. It has no clock
// and no timer: the caller says what time it is, and comes back when the answer
// says so.
type reader struct {
	path string
	opt  Options

	known bool
	last  Document // what was delivered last, when known

	missing time.Time // since when the config is missing; zero: it is not
	failing time.Time // since when it cannot be read; zero: it can

	pending time.Time // since when something happened that was not read; zero: nothing did
	quiet   time.Time // when nothing more will have happened for Options.Settle
	early   *Document // what was read although events went on, not believed yet
}

// event takes note that something happened around the config, and reports
// whether it is the first since the last time that it was read.
func (r *reader) event(now time.Time) (first bool) {
	first = r.pending.IsZero()
	if first {
		r.pending = now
	}
	r.quiet = now.Add(r.opt.Settle)
	return first
}

// read reads the config. It returns what there is to deliver, whether that is
// news, and when to read again; 0 when something happens. While early is set it
// is read again after Settle.
func (r *reader) read(now time.Time) (doc Document, news bool, again time.Duration) {
	doc, err := Read(r.path)
	if now.Before(r.quiet) && !r.believe(doc, err, now) {
		return Document{}, false, 0
	}
	r.pending, r.early = time.Time{}, nil
	if err != nil {
		// What several files say is not known at once; what cannot be read may
		// just be in the making.
		if r.failing.IsZero() {
			r.failing = now
		}
		if wait := r.opt.Absent - now.Sub(r.failing); wait > 0 && !errors.As(err, new(*AmbiguousError)) {
			return Document{}, false, wait
		}
		doc, again = Document{Path: doc.Path, Present: true, Err: err}, r.opt.Absent
	} else {
		r.failing = time.Time{}
	}
	if doc.Present {
		r.missing = time.Time{}
	} else {
		if r.missing.IsZero() {
			r.missing = now
		}
		if wait := r.opt.Absent - now.Sub(r.missing); wait > 0 {
			if r.known && !r.last.Present {
				return Document{}, false, 0
			}
			return Document{}, false, wait
		}
	}
	if r.known && same(r.last, doc) {
		return Document{}, false, again
	}
	r.known, r.last = true, doc
	return doc, true, again
}

// believe reports whether what was read while events went on is the config:
// when it reads the same twice, Settle apart, or when the bound is reached. A
// file that is being rewritten in place may hold half of what it will.
func (r *reader) believe(doc Document, err error, now time.Time) bool {
	doc.Err = err
	if r.early != nil && same(*r.early, doc) || now.Sub(r.pending) >= mostSettles*r.opt.Settle {
		return true
	}
	r.early = &doc
	return false
}

// same reports whether two states say the same.
func same(a, b Document) bool {
	return a.Present == b.Present && bytes.Equal(a.Data, b.Data) && sameErr(a.Err, b.Err)
}

// sameErr reports whether two errors are the same problem: the same files, or
// what the kernel answered.
func sameErr(a, b error) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	var ma, mb *AmbiguousError
	if errors.As(a, &ma) && errors.As(b, &mb) {
		return ma.Dir == mb.Dir && slices.Equal(ma.Files, mb.Files)
	}
	var na, nb syscall.Errno
	return errors.As(a, &na) && errors.As(b, &nb) && na == nb
}
