package health

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

const (
	// DefaultHoldDown is how long a link must keep its state to be believed.
	DefaultHoldDown = 2 * time.Second
	// StartGrace is how long a link that was never seen up may take: after a
	// boot the kubelet admits pods again while links still negotiate, and fails
	// those whose devices are unhealthy.
	StartGrace = 30 * time.Second
	// ErrorQuiet is how long a function must have been without new PCIe errors
	// to be trusted again.
	ErrorQuiet = time.Minute
	// AskAgain is when to read the host's network again that was not listed to
	// its end: there is no event that it could be.
	AskAgain = 2 * time.Second
)

// Settings are the config's health section with its defaults.
type Settings struct {
	Link     bool
	HoldDown time.Duration
}

// From reads the config; nil is the defaults.
func From(cfg *spec.Config) Settings {
	health := cmp.Or(cfg, &spec.Config{}).Health
	return Settings{
		Link:     health.Link == nil || *health.Link,
		HoldDown: cmp.Or(time.Duration(health.HoldDown), DefaultHoldDown),
	}
}

// Judge remembers what earlier observations showed. The zero value is ready; it is for
// one goroutine. Observe replaces what it remembers and changes none of it: a copy made
// before stays as it was.
type Judge struct {
	holds  map[string]hold
	errors map[string]counter
	last   *pool.Assignment
}

// Result is what one observation came to.
type Result struct {
	// Assignment is the one that was judged, with the devices that pods hold
	// and that left their pool.
	Assignment *pool.Assignment
	// Reasons are why devices are unhealthy, by ID.
	Reasons map[string]pool.Reason
	// Again is when to ask again although nothing happened; 0 means never.
	Again time.Duration
}

// Observe judges the devices of a. held is whether a pod has the device. No
// argument is changed; a nil snapshot or assignment is an empty one.
func (j *Judge) Observe(s Settings, snap *inventory.Snapshot, a *pool.Assignment, held func(id string) bool, now time.Time) Result {
	if snap == nil {
		snap = &inventory.Snapshot{}
	}
	if a == nil {
		a = &pool.Assignment{}
	}
	v := Result{Assignment: j.keep(snap, a, held), Reasons: map[string]pool.Reason{}}
	w := &watch{before: j, settings: s, now: now, holds: map[string]hold{}, errors: map[string]counter{}}
	members := v.Assignment.Members()
	judge := func(id string, r pool.Reason) {
		if r != (pool.Reason{}) && members[id] {
			v.Reasons[id] = r
		}
	}
	for i := range snap.PFs {
		pf := &snap.PFs[i]
		of := w.port(pf.Address, pf.Name(), pf.Netdevs)
		errs := w.pcie(&pf.Function, len(pf.VFs))
		judge(pf.Address, cmp.Or(of.down, of.carrier, errs))
		for k := range pf.VFs {
			vf := &pf.VFs[k]
			judge(vf.Address, cmp.Or(s.ofVF(vf, of), w.pcie(&vf.Function, 0), errs))
		}
		for k := range snap.Subfunctions {
			if sf := &snap.Subfunctions[k]; sf.Parent == pf.Address {
				judge(sf.Name, cmp.Or(of.down, of.carrier, errs))
			}
		}
	}
	for i := range snap.Others {
		judge(snap.Others[i].Address, w.pcie(&snap.Others[i], 0))
	}
	if len(snap.HostUnknown) > 0 {
		w.soon(AskAgain)
	}
	v.Again = w.again
	// What was remembered of functions that are gone is not among it.
	j.holds, j.errors, j.last = w.holds, w.errors, v.Assignment
	return v
}

// port is the link of a PF: that it is administratively down, and that it has no
// carrier.
type port struct{ down, carrier pool.Reason }

// ofVF is what the PF's link means to a VF. The state of the VF's own interface
// means nothing: it is down until a pod has it.
func (s Settings) ofVF(vf *inventory.VF, of port) pool.Reason {
	if !s.Link {
		return pool.Reason{}
	}
	state := ""
	if vf.Admin != nil {
		state = vf.Admin.LinkState
	}
	switch {
	case state == "disable":
		return pool.Reason{Cause: pool.CauseVFLinkDisabled, Text: "the link state of the VF is set to disable"}
	case of.down != pool.Reason{}:
		return of.down
	case state == "enable":
		return pool.Reason{} // up whatever the port does
	}
	return of.carrier
}

// watch is one observation.
type watch struct {
	before   *Judge
	settings Settings
	now      time.Time
	holds    map[string]hold
	errors   map[string]counter
	again    time.Duration
}

func (w *watch) port(address, name string, netdevs []inventory.Netdev) port {
	if !w.settings.Link || len(netdevs) == 0 {
		return port{} // a PF without an interface in the host means nothing
	}
	n := &netdevs[0]
	var p port
	if w.hold("down/"+address, !n.AdminUp) {
		p.down = pool.Reason{Cause: pool.CausePFDown, Text: fmt.Sprintf("PF %s is administratively down", name)}
	}
	// Without being up, an interface has no carrier to speak of.
	if w.hold("carrier/"+address, !n.AdminUp || !n.Carrier) && p.down == (pool.Reason{}) {
		p.carrier = pool.Reason{Cause: pool.CauseNoLink, Text: fmt.Sprintf("PF %s has no link", name)}
	}
	return p
}

// hold is a state that must last to be believed.
type hold struct {
	believed, raw bool // bad
	good          bool // was seen good
	since         time.Time
}

// hold returns the believed state of key, whose state is bad now or not.
func (w *watch) hold(key string, bad bool) bool {
	h, known := w.before.holds[key]
	if !known {
		h = hold{raw: bad, since: w.now}
	}
	defer func() { w.holds[key] = h }()
	if h.raw != bad {
		h.raw, h.since = bad, w.now
	}
	h.good = h.good || !bad
	if h.believed == bad {
		return h.believed
	}
	wait := w.settings.HoldDown
	if bad && !h.good {
		wait = max(wait, StartGrace)
	}
	if left := h.since.Add(wait).Sub(w.now); left > 0 {
		w.soon(left)
		return h.believed
	}
	h.believed = bad
	return bad
}

// counter is a function's PCIe errors.
type counter struct {
	last inventory.AER
	rose time.Time // zero: never since we watch
	why  string
	vfs  int
}

// pcie is that the function's error counters rose lately. What was counted
// before the first observation is of no concern, nor is what came while VFs were made
// or removed: bridges complain when the bus is probed for functions that are
// not there yet.
func (w *watch) pcie(f *inventory.Function, vfs int) pool.Reason {
	if f.AER == nil {
		return pool.Reason{}
	}
	key := "aer/" + f.Address
	c, known := w.before.errors[key]
	if !known {
		c = counter{last: *f.AER, vfs: vfs}
	}
	defer func() { w.errors[key] = c }()
	fatal, nonFatal := f.AER.Fatal-c.last.Fatal, f.AER.NonFatal-c.last.NonFatal
	probed := c.vfs != vfs
	c.last, c.vfs = *f.AER, vfs
	if (fatal > 0 || nonFatal > 0) && !probed {
		c.rose = w.now
		c.why = fmt.Sprintf("PCIe errors on %s: %d fatal, %d non-fatal more than before", f.Address, max(fatal, 0), max(nonFatal, 0))
	}
	if c.rose.IsZero() {
		return pool.Reason{}
	}
	if left := c.rose.Add(ErrorQuiet).Sub(w.now); left > 0 {
		w.soon(left)
		return pool.Reason{Cause: pool.CausePCIeErrors, Text: c.why}
	}
	c.rose = time.Time{}
	return pool.Reason{}
}

func (w *watch) soon(d time.Duration) {
	if w.again == 0 || d < w.again {
		w.again = d
	}
}

// keep returns a with the devices that the last assignment had in the same
// pool, that a does not have in any, and that a pod holds. A device that left
// the machine is unhealthy; one that is there and only looks different while
// the pod has it (its RDMA device went along) keeps its health.
func (j *Judge) keep(snap *inventory.Snapshot, a *pool.Assignment, held func(string) bool) *pool.Assignment {
	if j.last == nil || held == nil {
		return a
	}
	have := a.Members()
	out := &pool.Assignment{Pools: slices.Clone(a.Pools)}
	for i := range out.Pools {
		p := &out.Pools[i]
		before := j.last.Pool(p.Resource)
		if before == nil {
			continue
		}
		p.Devices = slices.Clip(p.Devices) // those of a are not written to
		for _, d := range before.Devices {
			if have[d.ID] || !held(d.ID) {
				continue
			}
			if _, ok := snap.Device(d.ID); !ok {
				d.Healthy, d.Reason = false, pool.Unusable("the device is gone, and a pod still has it")
			}
			p.Devices = append(p.Devices, d)
		}
	}
	return out
}
