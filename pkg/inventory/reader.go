package inventory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// defaultBound is how long the kernel may leave a question about a device unanswered.
// One question takes microseconds, and a VF's driver that is being bound answers
// within a second; what takes longer is a device that something is wrong with, or one
// whose VFs are made or removed.
const defaultBound = 2 * time.Second

// ReaderOptions are the options of a [Reader].
type ReaderOptions struct {
	// Bound is how long a question about a device may go unanswered until the device
	// counts as silent; default 2 seconds.
	Bound time.Duration
	// OnAnswer is called when the kernel has answered about what was silent, so that
	// somebody may read again. It must not block; may be nil.
	OnAnswer func()
}

// Reader reads one machine, again and again, and remembers what it read last of each
// device. Each PF with its VFs, each other function and each subfunction is read for
// itself: while the kernel does not answer about one, all others are read, and that one
// is as it was read last, see PF.Silent. Nothing is asked about it again until the
// answer has come, and no reading waits for it a second time.
//
// It is safe for concurrent use.
type Reader struct {
	tree  sysfs.Tree
	net   Network
	bound time.Duration // 0 for none
	back  func()

	network, rdma *lane

	mu    sync.Mutex
	lanes map[string]*lane // by the device's address or name
}

// NewReader returns a reader that has read nothing yet. network may be nil: interface
// attributes then come from sysfs, and VF attributes, eswitch modes and uplinks stay
// unknown.
func NewReader(tree sysfs.Tree, network Network, opts ReaderOptions) *Reader {
	r := newReader(tree, network, cmp.Or(opts.Bound, defaultBound))
	r.back = opts.OnAnswer
	return r
}

func newReader(tree sysfs.Tree, network Network, bound time.Duration) *Reader {
	return &Reader{tree: tree, net: network, bound: bound, network: newLane(), rdma: newLane(), lanes: map[string]*lane{}}
}

// Read reads everything once, with a new Reader that waits for every answer for as long
// as ctx lasts: a workstation may be far from the machine that it asks.
func Read(ctx context.Context, tree sysfs.Tree, network Network) (*Snapshot, error) {
	return ReadNeeded(ctx, tree, network, Everything())
}

// ReadNeeded is Read without what is not needed.
func ReadNeeded(ctx context.Context, tree sysfs.Tree, network Network, needs Needs) (*Snapshot, error) {
	return newReader(tree, network, 0).Read(ctx, needs)
}

// Read reads what is needed. It fails only when the list of PCI devices cannot be read
// or ctx ends, and returns then at once, also while the kernel does not answer.
func (r *Reader) Read(ctx context.Context, needs Needs) (*Snapshot, error) {
	var (
		s   *Snapshot
		err error
	)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s, err = r.read(ctx, needs)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	if ended := ctx.Err(); ended != nil {
		return nil, fmt.Errorf("read inventory: %w", ended)
	}
	<-done
	return s, err
}

func (r *Reader) read(ctx context.Context, needs Needs) (*Snapshot, error) {
	common := &reader{tree: r.tree, net: r.net, needs: needs, workers: workers}
	addrs, err := r.tree.ReadDir(sysfs.PCIDevices)
	if err != nil {
		return nil, fmt.Errorf("list PCI devices: %w", err)
	}
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		var wg sync.WaitGroup
		wg.Go(func() { common.readClasses(ctx) })
		common.lists = r.lists(ctx, common)
		wg.Wait()
	}()
	discovered := &reader{tree: r.tree, workers: workers}
	funcs := discovered.discover(ctx, addrs)
	t := &reading{Reader: r, common: common, ready: ready, needs: needs, workers: 1}
	pfs := 0
	for _, f := range funcs {
		if f.isPF {
			pfs++
		}
	}
	if pfs > 0 {
		t.workers = max(1, workers/pfs)
	}
	parts := make([]*part, len(funcs))
	var wg sync.WaitGroup
	for i, f := range funcs {
		wg.Go(func() { parts[i] = t.function(ctx, f) })
	}
	<-ready
	s := common.summary()
	s.RDMANetns = r.rdmaMode(ctx, common)
	sfs := make([]*part, len(common.sfs))
	for i := range common.sfs {
		wg.Go(func() { sfs[i] = t.subfunction(ctx, common.sfs[i]) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err() // parts are missing; Read says it
	}
	common.notes = append(common.notes, discovered.notes...)
	common.collect(s, parts, sfs)
	r.prune(s)
	return s, nil
}

// lists asks for netlink's lists. They wait for one lock of the whole network, which
// any device's driver may hold.
func (r *Reader) lists(ctx context.Context, common *reader) lists {
	if r.net == nil {
		return lists{answers: NetworkAnswers{Missing: notAsked}}
	}
	asking := &reader{net: r.net, lane: r.network}
	ok, since := r.network.do(ctx, r.bound, r.back, func() { asking.readNetwork(ctx) })
	if !ok {
		common.missed(since, "interfaces")
		return lists{answers: NetworkAnswers{Missing: "interfaces: " + silence(since)}}
	}
	common.add(asking.notes)
	return asking.lists
}

// rdmaMode asks for the namespace mode of RDMA devices.
func (r *Reader) rdmaMode(ctx context.Context, common *reader) string {
	if r.net == nil {
		return ""
	}
	var mode string
	asking := &reader{net: r.net, lane: r.rdma, classes: classes{rdma: common.classes.rdma}}
	ok, since := r.rdma.do(ctx, r.bound, r.back, func() { mode = asking.rdmaMode(ctx) })
	if !ok {
		common.missed(since, "RDMA network namespace mode")
		return ""
	}
	common.add(asking.notes)
	return mode
}

// missed notes what was not answered in time.
func (r *reader) missed(since time.Time, what string) {
	if !since.IsZero() {
		r.add([]Note{{Device: wholeNetwork, What: what, Err: silence(since)}})
	}
}

func (r *reader) add(notes []Note) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, notes...)
}

// silence says since when there is no answer: the same text for as long as there is
// none, so that whoever prints it has news when there are.
func silence(since time.Time) string {
	return "the kernel has not answered since " + since.UTC().Format("15:04:05 UTC")
}

// laneOf is the lane of the device.
func (r *Reader) laneOf(device string) *lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[device]
	if l == nil {
		l = newLane()
		r.lanes[device] = l
	}
	return l
}

// prune forgets devices that are gone: another one may come with the same name. The
// lane of one that was asked stays until there is an answer.
func (r *Reader) prune(s *Snapshot) {
	there := make(map[string]bool, len(s.PFs)+len(s.Others)+len(s.Subfunctions))
	for i := range s.PFs {
		there[s.PFs[i].Address] = true
	}
	for i := range s.Others {
		there[s.Others[i].Address] = true
	}
	for i := range s.Subfunctions {
		there[s.Subfunctions[i].Name] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for device, l := range r.lanes {
		if !there[device] && l.forget() {
			delete(r.lanes, device)
		}
	}
}

// collect makes the snapshot of its parts.
func (r *reader) collect(s *Snapshot, parts, sfs []*part) {
	s.Subfunctions = nil
	unknown := map[string]string{}
	for _, p := range slices.Concat(parts, sfs) {
		r.add(p.notes)
		switch {
		case p.isSF:
			s.Subfunctions = append(s.Subfunctions, p.sf)
			say(&unknown, p.sf.Name, p.silent)
			say(&s.OtherUse, p.sf.Name, r.hostUse(p.sf.Netdevs))
		case p.isPF:
			pf := p.pf
			pf.Silent = p.silent
			s.PFs = append(s.PFs, pf)
		default:
			s.Others = append(s.Others, p.pf.Function)
			say(&unknown, p.pf.Address, p.silent)
			say(&s.OtherUse, p.pf.Address, r.hostUse(p.pf.Netdevs))
		}
	}
	if r.net != nil {
		r.applyHostUnknown(s)
	}
	for device, why := range unknown {
		say(&s.HostUnknown, device, why)
	}
	slices.SortFunc(r.notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.What, b.What), cmp.Compare(a.Err, b.Err))
	})
	s.Notes = slices.CompactFunc(r.notes, func(a, b Note) bool { return a == b && a.Device == wholeNetwork })
}
