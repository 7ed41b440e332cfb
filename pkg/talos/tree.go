package talos

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// inFlight is how many requests are under way at a time: enough to hide the
// round trip, little enough not to flood a node's API.
const inFlight = 128

// maxRounds bounds how often the reader is run again. Each round answers what
// the one before asked, so it is the depth of the questions: about six.
const maxRounds = 32

// errNotFetched is what the tree answers before it has asked the node. It is
// none of the errors that mean "not there", so that the reader goes on to ask
// everything else that it can.
var errNotFetched = errors.New("not fetched yet")

// tree is a node's sysfs, as far as it has been fetched. A question that it
// cannot answer is noted, and answered in the next round.
type tree struct {
	mu      sync.Mutex
	answers map[question]answer
	asked   map[question]bool
}

// answer is a file's content or a directory's entries.
type answer struct {
	data    []byte
	entries []entry
	err     error
}

type question struct {
	directory bool
	name      string
}

func newTree() *tree {
	return &tree{answers: make(map[question]answer), asked: make(map[question]bool)}
}

var _ sysfs.Tree = (*tree)(nil)

// ReadFile implements [sysfs.Tree]. What a directory's listing does not have is not
// asked for.
func (t *tree) ReadFile(name string) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := question{name: name}
	if a, ok := t.answers[q]; ok {
		if a.err != nil {
			err := t.refine(name, a.err)
			op := "read"
			if errors.Is(err, unix.ENOENT) {
				op = "open"
			}
			return nil, &sysfs.PathError{Op: op, Path: "/sys/" + name, Err: err}
		}
		return a.data, nil
	}
	if there, known := t.listed(name); known && !there {
		return nil, &sysfs.PathError{Op: "open", Path: "/sys/" + name, Err: unix.ENOENT}
	}
	t.asked[q] = true
	return nil, errNotFetched
}

// listed says whether the listing of name's directory has it; it is known when that was
// fetched.
func (t *tree) listed(name string) (there, known bool) {
	directory, known := t.answers[question{directory: true, name: path.Dir(name)}]
	return has(directory.entries, path.Base(name)), known
}

// refine says what a failed read means. The API gives no errno; but a file that
// is listed is there, and then it was the driver that could not answer.
func (t *tree) refine(name string, err error) error {
	if there, _ := t.listed(name); there && errors.Is(err, unix.ENOENT) {
		return unix.EIO
	}
	return err
}

// ReadDir implements [sysfs.Tree].
func (t *tree) ReadDir(name string) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	entries, err := t.list(name)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(entries))
	for i, e := range entries {
		out[i] = e.name
	}
	slices.Sort(out)
	return out, nil
}

func (t *tree) list(name string) ([]entry, error) {
	q := question{directory: true, name: name}
	if a, ok := t.answers[q]; ok {
		if a.err != nil {
			return nil, &sysfs.PathError{Op: "readdir", Path: "/sys/" + name, Err: a.err}
		}
		return a.entries, nil
	}
	t.asked[q] = true
	return nil, errNotFetched
}

// ReadLink implements [sysfs.Tree].
func (t *tree) ReadLink(name string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	directory, err := t.physical(path.Dir(name))
	if err != nil {
		return "", err
	}
	return t.link(directory, path.Base(name))
}

// link follows the link base in a physical directory.
func (t *tree) link(directory, base string) (string, error) {
	entries, err := t.list(directory)
	if err != nil {
		return "", err
	}
	full := &sysfs.PathError{Op: "readlink", Path: "/sys/" + path.Join(directory, base)}
	i := slices.IndexFunc(entries, func(e entry) bool { return e.name == base })
	switch {
	case i < 0:
		full.Err = unix.ENOENT
	case entries[i].link == "":
		full.Err = unix.EINVAL
	default:
		target := entries[i].link
		if !path.IsAbs(target) {
			target = path.Join("/sys", directory, target)
		}
		if below, ok := strings.CutPrefix(path.Clean(target), "/sys/"); ok {
			return below, nil
		}
		full.Err = unix.EXDEV
	}
	return "", full
}

// physical resolves the links in a directory's name. Names below devices/ have
// none, and neither have the classes' and buses' own directories.
func (t *tree) physical(name string) (string, error) {
	if strings.HasPrefix(name, sysfs.PrefixPhysical) || name == "." {
		return name, nil
	}
	if parts := strings.Split(name, "/"); len(parts) <= 2 || parts[0] == "bus" && len(parts) == 3 {
		return name, nil
	}
	parent, err := t.physical(path.Dir(name))
	if err != nil {
		return "", err
	}
	target, err := t.link(parent, path.Base(name))
	if errors.Is(err, unix.EINVAL) { // a plain directory
		return path.Join(parent, path.Base(name)), nil
	}
	return target, err
}

// take returns what was asked since the last call.
func (t *tree) take() []question {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer clear(t.asked)
	return slices.Collect(maps.Keys(t.asked))
}

// fetch asks the node everything in questions. An answer that concerns one file alone
// is kept; an error that concerns the whole node ends it.
func (t *tree) fetch(ctx context.Context, n *Node, questions []question) error {
	answers, err := gather(ctx, questions, func(ctx context.Context, q question) (a answer, err error) {
		full := "/sys/" + q.name
		if q.directory {
			a.entries, err = n.list(ctx, full)
		} else {
			a.data, err = n.ReadFile(ctx, full)
		}
		if fatal(err) {
			return a, explain(n.Name, "list "+full, err)
		}
		a.err = err
		return a, nil
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for q, a := range answers {
		if Denied(a.err) {
			return &Error{
				Node: n.Name, Msg: "reading sysfs: the role of this talosconfig does not allow it", Code: codes.PermissionDenied,
				Hint: "it needs os:admin; sriovctl discover shows what os:reader may see",
			}
		}
		if a.err != nil {
			// The API answers with texts only. That something is not there is by far the
			// most frequent reason; refine knows better when the directory was listed.
			a.err = unix.ENOENT
		}
		t.answers[q] = a
	}
	return nil
}

// gather asks for each of keys, many at a time, and returns the answers. The first
// error ends it.
func gather[K comparable, V any](ctx context.Context, keys []K, ask func(context.Context, K) (V, error)) (map[K]V, error) {
	var mu sync.Mutex
	out := make(map[K]V, len(keys))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	for _, key := range keys {
		group.Go(func() error {
			v, err := ask(ctx, key)
			mu.Lock()
			defer mu.Unlock()
			out[key] = v
			return err
		})
	}
	return out, group.Wait()
}

// fatal reports whether no other question will fare better.
func fatal(err error) bool {
	switch code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unauthenticated, codes.Unimplemented:
		return true
	}
	return false
}

// View reads the node's sysfs and network through the API, with the code that reads
// them on the node. It needs os:admin; without it the error is [Denied]. VF attributes
// and eswitch modes stay unknown, because the API does not show them.
func (n *Node) View(ctx context.Context) (*View, error) {
	network, err := n.network(ctx)
	if err != nil {
		return nil, err
	}
	return n.view(ctx, network)
}

func (n *Node) view(ctx context.Context, network *network) (*View, error) {
	t, trips := newTree(), 0
	for range maxRounds {
		snap, err := inventory.Read(ctx, t, network)
		questions := t.take()
		if len(questions) == 0 {
			if err != nil {
				return nil, err
			}
			network.doubt(snap)
			return &View{Snapshot: snap, Links: network.nodeLinks(n.Name, vfAddresses(snap)), Trips: trips}, nil
		}
		trips += (len(questions) + inFlight - 1) / inFlight
		if err := t.fetch(ctx, n, questions); err != nil {
			return nil, err
		}
	}
	return nil, &Error{Node: n.Name, Msg: "reading sysfs does not come to an end", Hint: "please report this, with the output of sriovctl discover"}
}
