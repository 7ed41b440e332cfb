package cni

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/vf"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// Evidence is what shows that the pod is gone.
type Evidence string

const (
	// EvidenceNetns: the pod's network namespace is gone, and DEL did not come.
	EvidenceNetns Evidence = "netns"
	// EvidenceBoot: the cache is of an earlier run of the machine; its VF is no more.
	EvidenceBoot Evidence = "boot"
	// EvidenceAllocation: an allocation of a namespace that is gone, without a cache.
	EvidenceAllocation Evidence = "allocation"
)

// Orphan is what a pod that is gone has left behind.
type Orphan struct {
	Evidence Evidence
	Device   string // PCI address of the VF
	// File is the base name of the cache file: SANDBOX-INTERFACE; "" for an
	// allocation without one.
	File  string
	Netns string // "" when sriov-cni's cache does not have it
}

// HasVF reports whether reclaiming the orphan touches its VF, and not files
// alone.
func (o Orphan) HasVF() bool { return o.Evidence == EvidenceNetns }

// Orphans lists what pods that are gone have left. It changes nothing, but for damaged
// files, see [attachment.Store.All]. What cannot be read is in the error, beside what
// can.
func (p *Plugin) Orphans() ([]Orphan, error) {
	all, err := p.store().All(p.Boot)
	errs := []error{err}
	var out []Orphan
	cached := map[string]bool{}
	for _, a := range all {
		if !a.HasDevice() {
			continue
		}
		cached[a.DeviceID] = true
		o, ok, err := p.orphan(a)
		errs = append(errs, err)
		if ok {
			out = append(out, o)
		}
	}
	allocated, err := p.store().Allocated()
	errs = append(errs, err)
	for _, addr := range allocated {
		if cached[addr] {
			continue
		}
		owner, err := p.store().Owner(addr)
		errs = append(errs, err)
		if err == nil && !p.alive(owner) {
			out = append(out, Orphan{Evidence: EvidenceAllocation, Device: addr, Netns: owner})
		}
	}
	return out, errors.Join(errs...)
}

// orphan decides about one attachment.
func (p *Plugin) orphan(a *attachment.Attachment) (Orphan, bool, error) {
	o := Orphan{Evidence: EvidenceNetns, Device: a.DeviceID, File: a.File, Netns: a.Extra.Netns}
	stale := a.Stale(p.Boot)
	if stale && a.Extra.BootID != "" {
		o.Evidence = EvidenceBoot
		return o, true, nil
	}
	if o.Netns == "" {
		owner, err := p.store().Owner(a.DeviceID)
		if err != nil {
			return o, false, err
		}
		if stale && !p.alive(owner) { // a namespace does not outlive a boot either
			o.Evidence, o.Netns = EvidenceBoot, owner
			return o, true, nil
		}
		if o.Netns = owner; owner == "" {
			// sriov-cni's, and it does not have where the VF is. Only an interface
			// that is back on the host shows that no pod has it.
			v, err := vf.Find(p.Sysfs, a.DeviceID)
			return o, err == nil && v.Netdev != "", nil
		}
	}
	return o, !p.alive(o.Netns), nil
}

// LockVF keeps ADD and DEL away from the VF, see [attachment.Store.LockVF].
func (p *Plugin) LockVF(ctx context.Context, addr string) (unlock func(), err error) {
	return p.store().LockVF(ctx, addr)
}

// Reclaim does for an orphan what DEL would have done, but for the IPAM plugin:
// a DEL that comes later calls it. The caller has made sure that nothing shows
// the VF to be in use, and that it is not given to another pod meanwhile. An
// orphan that is none any more is no error.
func (p *Plugin) Reclaim(ctx context.Context, o Orphan) error {
	if !sysfs.IsPCIAddress(o.Device) || o.File != filepath.Base(o.File) && o.File != "" {
		return fmt.Errorf("no attachment: %+v", o)
	}
	unlock, err := p.store().LockSoon(ctx, o.Device)
	if err != nil {
		return err
	}
	defer unlock()
	if o.Evidence == EvidenceAllocation {
		owner, err := p.store().Owner(o.Device)
		if err != nil || p.alive(owner) {
			return err
		}
		return p.store().Free(o.Device)
	}
	a, err := p.store().Load(o.File)
	if err != nil || a == nil || a.DeviceID != o.Device {
		return err // DEL was faster
	}
	if now, still, err := p.orphan(a); err != nil || !still || now.Evidence != o.Evidence {
		return err
	}
	newest, err := p.newest(a)
	if err != nil {
		return err
	}
	if !newest {
		// What it has of the VF is history: a later pod had it, or has it.
		return p.forget(a.File)
	}
	return p.end(ctx, a)
}

// newest reports whether the attachment is the last one of its VF.
func (p *Plugin) newest(a *attachment.Attachment) (bool, error) {
	owner, err := p.store().Owner(a.DeviceID)
	if err != nil {
		return false, err
	}
	if owner != "" && a.Extra.Netns != "" {
		return owner == a.Extra.Netns || a.Stale(p.Boot), nil
	}
	all, err := p.store().All(p.Boot)
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(all, func(b *attachment.Attachment) bool {
		return b.DeviceID == a.DeviceID && b.File != a.File && !b.Stale(p.Boot) && b.Written.After(a.Written)
	}), nil
}
