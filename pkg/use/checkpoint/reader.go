package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/internal/fileid"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

const (
	// File is where the file is below the kubelet's directory.
	File = "device-plugins/kubelet_internal_checkpoint"
	// LogDir is where the kubelet has the directories of its pods' logs on the host.
	LogDir = "/var/log/pods"

	// maxFile bounds the file: some kilobytes are usual, an entry's answer of a plugin
	// included. maxNames bounds the log directories; a node has some hundred pods.
	maxFile  = 16 << 20
	maxNames = 1 << 16
)

// What else it is not known for what is written.
var (
	ErrTooLarge  = fmt.Errorf("it is larger than %d bytes", maxFile)
	ErrNotAFile  = errors.New("it is no regular file")
	ErrManyNames = fmt.Errorf("there are more than %d", maxNames)
)

// Reader reads the checkpoint of one kubelet. Its methods are safe for concurrent use.
type Reader struct {
	path, logs string
	now        func() time.Time

	mu sync.Mutex
	// What was read, of the file last. None when it has to be read again: it may have
	// changed within one tick of its file system's clock, or could not be read.
	last    fileid.ID
	entries []use.Entry
	err     error
}

// New returns a reader of the checkpoint below the kubelet's directory, and of its
// directory of logs. Neither need exist.
func New(kubeletDir, logDir string) *Reader {
	return &Reader{path: filepath.Join(kubeletDir, File), logs: logDir, now: time.Now}
}

// Read returns what the kubelet has written. It never fails: that it is not known is
// an answer too. The file is parsed once for each state of it, and the entries are the
// same for all callers, who must not change them.
func (r *Reader) Read() use.Checkpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := fileid.Lookup(r.path)
	if !id.IsSet() || id != r.last {
		r.entries, r.err = r.read()
		r.last = fileid.ID{}
		if again := r.err != nil && !errors.Is(r.err, ErrFormat); !again && id.Settled(r.now()) {
			r.last = id
		}
	}
	cp := use.Checkpoint{Entries: r.entries, Err: r.err}
	if len(cp.Entries) > 0 {
		cp.Names, cp.NamesErr = r.names()
	}
	return cp
}

func (r *Reader) read() ([]use.Entry, error) {
	data, err := readFile(r.path)
	if absent(err) {
		return nil, nil
	}
	var entries []use.Entry
	if err == nil {
		entries, err = Parse(data)
	}
	if err != nil {
		return nil, fmt.Errorf("the kubelet's checkpoint %s: %w", r.path, err)
	}
	return entries, nil
}

// absent reports whether there is nothing at a path.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// readFile reads a regular file, and waits for nobody.
func readFile(path string) (data []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, ErrNotAFile
	case info.Size() > maxFile:
		return nil, ErrTooLarge
	}
	// The kubelet never changes a file that is there: it is not longer than that.
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// names are the pods that have a log directory, by UID.
func (r *Reader) names() (map[string]use.Pod, error) {
	d, err := os.Open(r.logs)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the names of pods: %w", err)
	}
	all, err := d.Readdirnames(maxNames + 1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err == nil && len(all) > maxNames {
		err = ErrManyNames
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return nil, fmt.Errorf("the names of pods in %s: %w", r.logs, err)
	}
	out := make(map[string]use.Pod, len(all))
	for _, name := range all {
		if uid, pod, ok := ParseLogDir(name); ok {
			out[uid] = pod
		}
	}
	return out, nil
}

// ParseLogDir reads the name of a pod's log directory, NAMESPACE_NAME_UID; false for
// anything else. Names in Kubernetes have no underscore.
func ParseLogDir(name string) (uid string, pod use.Pod, ok bool) {
	parts := strings.Split(name, "_")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return "", use.Pod{}, false
	}
	return parts[2], use.Pod{Namespace: parts[0], Name: parts[1]}, true
}
