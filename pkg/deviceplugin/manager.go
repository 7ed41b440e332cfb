package deviceplugin

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/talos-sriov/talos-sriov/pkg/internal/dirwatch"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
)

// Options configure a Manager.
type Options struct {
	// KubeletDir is the kubelet's root directory (/var/lib/kubelet). It, and any
	// directory above it, may appear, vanish and be mounted over at any time.
	KubeletDir string
	// SocketDir is where our sockets are, below /run (/host/run/sriov). It is
	// made, and belongs to one process at a time. The kubelet's directory has
	// links to them.
	SocketDir string
	// HostPath turns a path of ours into the kubelet's for the same file
	// (/host/run/sriov into /run/sriov). nil means that they are the same.
	HostPath func(path string) string
	// Log gets what an operator should know of. Required.
	Log *slog.Logger
	// Ledger hears of kubelets and of allocations, when not nil.
	Ledger Ledger
	// PluginWatcher makes the kubelet find our sockets in its plugins_registry
	// directory, instead of our registering at its socket in device-plugins.
	PluginWatcher bool
	// DeviceInfoDir is where device-info files are written; "" for none.
	// Consumers look in /var/run/k8s.cni.cncf.io/devinfo/dp.
	DeviceInfoDir string
	// CDIDir is where CDI files of the pools that want them are written. With ""
	// the containers of every pool get their device nodes from the kubelet.
	CDIDir string
	// RegisterTimeout bounds one Register call; 0 means 15 s. The kubelet dials
	// back within the call and gives that 10 s.
	RegisterTimeout time.Duration
}

// Status is one pool's state toward the kubelet.
type Status struct {
	Resource string
	Socket   string // full path of what the kubelet dials, "" for none
	Devices  int    // as offered
	Healthy  int
	// Registered: the running kubelet knows the resource and has its device
	// list stream open.
	Registered bool
	// Waiting says what is waited for when not registered ("the kubelet ..."),
	// Err why the last attempt failed. Both are "" when all is well.
	Waiting string
	Err     string
	// Registrations counts the successful ones since the pool was started.
	Registrations int
}

// Manager runs the servers of all pools.
type Manager struct {
	opts  Options
	dir   string // the kubelet's directory with the links to our sockets
	files *files
	stale *sweeper

	wake    chan struct{} // cap 1: reconcile again
	changed chan struct{} // cap 1: Status has news

	// offering puts offers in order. It is never held while anybody outside this
	// package is called.
	offering sync.Mutex
	seq      uint64 // of the offer in force

	mu        sync.Mutex
	want      []pool.Pool
	servers   map[string]*server // by resource; those not in want are leaving
	poked     bool
	published []Status // the last that publish saw
}

// NewManager returns a Manager without pools. It does nothing before Run.
func NewManager(opts Options) *Manager {
	if opts.RegisterTimeout == 0 {
		opts.RegisterTimeout = 15 * time.Second
	}
	if opts.Ledger == nil {
		opts.Ledger = noLedger{}
	}
	if opts.HostPath == nil {
		opts.HostPath = func(path string) string { return path }
	}
	dir := pluginDirName
	if opts.PluginWatcher {
		dir = registryDirName
	}
	return &Manager{
		opts:  opts,
		files: newFiles(&opts),
		stale: &sweeper{
			sockets: opts.SocketDir, seenAs: opts.HostPath(opts.SocketDir),
			// In both, because an earlier run may have used the other one.
			links: []string{filepath.Join(opts.KubeletDir, pluginDirName), filepath.Join(opts.KubeletDir, registryDirName)},
		},
		dir:     filepath.Join(opts.KubeletDir, dir),
		wake:    make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
		servers: map[string]*server{},
	}
}

// Offer is what the kubelet is to be offered.
type Offer struct {
	// Assignment must not be changed afterwards. nil means that there is none yet.
	Assignment *pool.Assignment
	// Given names devices that pods may have, sorted, also of before a boot. After
	// a boot the kubelet gives pods the devices that they had without an Allocate:
	// their device-info files are written with the list.
	Given []string
	// Seq orders the offers of several goroutines: one that is not above that of
	// the offer in force was overtaken and changes nothing. 0 is always in order.
	Seq uint64
}

// Update is Offer for a caller with one goroutine and nothing given.
func (m *Manager) Update(a *pool.Assignment) { m.Offer(Offer{Assignment: a}) }

// Offer makes the assignment the one that is offered. Pools that are new are
// registered, pools that are gone are withdrawn, and a changed list reaches the
// kubelet in one message however many offers it took. It waits for no kubelet and
// may be called before Run. An Allocate that starts after it returned sees this
// offer or a later one. It calls nobody outside this package.
func (m *Manager) Offer(o Offer) {
	m.offering.Lock()
	defer m.offering.Unlock()
	if o.Seq != 0 {
		if o.Seq <= m.seq {
			return
		}
		m.seq = o.Seq
	}
	var want []pool.Pool
	if o.Assignment != nil {
		want = o.Assignment.Pools
		// Before the kubelet can ask for a device, its CDI file is there. A
		// failure is an error of the allocation that needs it.
		if err := m.files.update(want); err != nil {
			m.opts.Log.Warn("CDI files", "err", err)
		}
		if err := m.files.restore(want, o.Given); err != nil {
			m.opts.Log.Warn("device-info files of devices that pods have", "err", err)
		}
	}
	m.mu.Lock()
	m.want = want
	// Servers get their list here, not in Run's loop, also those that Run ends
	// later: an Allocate that starts after Offer returned sees the new state of its
	// devices.
	for resource, s := range m.servers {
		s.shelf.put(poolOf(want, resource))
	}
	m.mu.Unlock()
	notify(m.wake)
}

// poolOf is the resource's pool, or one without devices.
func poolOf(want []pool.Pool, resource string) *pool.Pool {
	for i := range want {
		if want[i].Resource == resource {
			return &want[i]
		}
	}
	return &pool.Pool{Resource: resource}
}

// Settle removes the device-info files of devices for which held says no. It is
// for the caller that knows for certain who has what. held is called with device
// IDs and without any lock; it must know of an allocation as soon as
// Ledger.Note returned for it.
func (m *Manager) Settle(held func(id string) bool) error { return m.files.settle(held) }

// Poke makes the manager reconcile again. It is for changes that the
// socket directory's events cannot show, such as a filesystem mounted over /var.
func (m *Manager) Poke() {
	m.mu.Lock()
	m.poked = true
	m.mu.Unlock()
	notify(m.wake)
}

// Dir is the kubelet's directory with the links to our sockets, which a mount may
// bring or hide.
func (m *Manager) Dir() string { return m.dir }

// Changed receives when Status has news; many changes may be one.
func (m *Manager) Changed() <-chan struct{} { return m.changed }

// Status is the state of every wanted pool, in the assignment's order.
func (m *Manager) Status() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status()
}

// status is Status for callers that have the lock.
func (m *Manager) status() []Status {
	out := make([]Status, 0, len(m.want))
	for i := range m.want {
		p := &m.want[i]
		if s := m.servers[p.Resource]; s != nil {
			out = append(out, s.status())
			continue
		}
		out = append(out, Status{
			Resource: p.Resource,
			Devices:  len(p.Devices), Healthy: p.Healthy(), Waiting: notStarted,
		})
	}
	return out
}

// notStarted is what is waited for until a server runs.
const notStarted = "the server to be started"

// pollEvery is how often the directories are compared when the kernel does not
// report their changes.
const pollEvery = 5 * time.Second

// Run serves until ctx is done, then closes every server and removes our
// sockets and links; what pods hold stays theirs. It returns nil.
func (m *Manager) Run(ctx context.Context) error {
	watch := dirwatch.New(fsnotify.NewWatcher, m.dir, m.opts.SocketDir)
	defer watch.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	var reported string
	for {
		err := m.reconcile(ctx, watch, &wg)
		if text := fmt.Sprint(err); err != nil && text != reported {
			// The pools stay up, which is worth more than an exit.
			m.opts.Log.Warn("the kubelet's directory cannot be watched and is polled instead: a restart of the kubelet is noticed late",
				"err", err, "every", pollEvery,
				"hint", "raise the sysctls fs.inotify.max_user_instances and fs.inotify.max_user_watches in the machine config")
			reported = text
		}
		m.wait(ctx, watch, err != nil)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// wait returns when there is a reason to reconcile again or ctx is done.
func (m *Manager) wait(ctx context.Context, watch *dirwatch.Watcher, blind bool) {
	var poll <-chan time.Time
	if blind {
		timer := time.NewTimer(pollEvery)
		defer timer.Stop()
		poll = timer.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
			return
		case <-poll:
			return
		case ev, ok := <-watch.Events():
			if !ok || m.relevant(ev) {
				return
			}
		case err := <-watch.Errors():
			// Lost events (fsnotify.ErrEventOverflow) or worse: reconcile
			// everything.
			m.opts.Log.Debug("watch of the kubelet's socket directory", "err", err)
			return
		}
	}
}

// relevant keeps the kubelet's own traffic in the directory (its checkpoint is
// rewritten on every pod) from waking anybody.
func (m *Manager) relevant(ev fsnotify.Event) bool {
	if !ev.Has(fsnotify.Create) && !ev.Has(fsnotify.Remove) && !ev.Has(fsnotify.Rename) {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	kubelet := ev.Name == filepath.Join(m.dir, kubeletSocketName)
	if kubelet && ev.Has(fsnotify.Create) {
		for _, s := range m.servers {
			s.reg.change(registration.kubeletCreated)
		}
	}
	if kubelet || strings.HasPrefix(m.dir+"/", ev.Name+"/") || strings.HasPrefix(m.opts.SocketDir+"/", ev.Name+"/") {
		return true
	}
	for _, s := range m.servers {
		if s.place.concerns(ev.Name) {
			return true
		}
	}
	return false
}

// reconcile compares the wanted pools with the running servers and makes every
// server reconcile its sockets.
func (m *Manager) reconcile(ctx context.Context, watch *dirwatch.Watcher, wg *sync.WaitGroup) error {
	m.mu.Lock()
	idle, force := len(m.want) == 0, m.poked
	m.poked = false
	m.mu.Unlock()

	if err := m.stale.sweep(ctx); err != nil {
		m.opts.Log.Warn("sockets of an earlier run", "err", err)
	}
	var watchErr error
	if idle {
		watch.Close()
	} else {
		// The watch comes before the rest: what happens in between is an event.
		watchErr = watch.Follow(force)
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	want := m.want
	for i := range want {
		if m.servers[want[i].Resource] != nil {
			continue
		}
		p := newPlace(want[i].Resource, m.dir, m.opts.SocketDir, m.opts.HostPath(m.opts.SocketDir))
		ctx, cancel := context.WithCancel(ctx)
		s := newServer(&want[i], p, &m.opts, m.files, func() { notify(m.changed) }, cancel)
		m.servers[s.resource] = s
		wg.Go(func() {
			s.run(ctx)
			m.mu.Lock()
			delete(m.servers, s.resource)
			m.mu.Unlock()
			notify(m.wake) // the same resource may be wanted again
			notify(m.changed)
		})
	}
	for name, s := range m.servers {
		if !slices.ContainsFunc(want, func(p pool.Pool) bool { return p.Resource == name }) {
			s.retire()
		}
		notify(s.reg.wake)
	}
	m.publish()
	return watchErr
}

// publish notifies when Status has news. Whoever hears it may well call Update again,
// which leads back here: notifying of nothing would keep both going for ever.
func (m *Manager) publish() {
	now := m.status()
	if !slices.Equal(now, m.published) {
		m.published = now
		notify(m.changed)
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
