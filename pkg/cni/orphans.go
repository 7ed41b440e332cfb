package cni

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// OrphanKind says what shows that the pod is gone.
type OrphanKind string

const (
	// OrphanNetns: the pod's network namespace is gone, and DEL did not come.
	OrphanNetns OrphanKind = "netns"
	// OrphanBoot: the cache is of an earlier run of the machine; its VF is no more.
	OrphanBoot OrphanKind = "boot"
	// OrphanAllocation: an allocation of a namespace that is gone, without a cache.
	OrphanAllocation OrphanKind = "allocation"
)

// Orphan is what a pod that is gone has left behind.
type Orphan struct {
	Kind   OrphanKind
	Device string // PCI address of the VF
	// File is the base name of the cache file: SANDBOX-INTERFACE; "" for an
	// allocation without one.
	File  string
	Netns string // "" when sriov-cni's cache does not say it
}

// HasVF reports whether taking the orphan back touches its VF, and not files
// alone.
func (o Orphan) HasVF() bool { return o.Kind == OrphanNetns }

// Orphans lists what pods that are gone have left. It only looks, but for damaged
// files, see [Store.All]. What can not be read is in the error, beside what can.
func (p *Plugin) Orphans() ([]Orphan, error) {
	all, err := p.store().All(p.Boot)
	errs := []error{err}
	var out []Orphan
	cached := map[string]bool{}
	for _, a := range all {
		if !device(a) {
			continue
		}
		cached[a.DeviceID] = true
		o, ok, err := p.orphan(a)
		errs = append(errs, err)
		if ok {
			out = append(out, o)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(p.store().allocation("x")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range entries {
		addr := e.Name()
		if !e.Type().IsRegular() || !sysfs.IsPCIAddress(addr) || cached[addr] {
			continue
		}
		owner, err := p.store().Owner(addr)
		errs = append(errs, err)
		if err == nil && !p.alive(owner) {
			out = append(out, Orphan{Kind: OrphanAllocation, Device: addr, Netns: owner})
		}
	}
	return out, errors.Join(errs...)
}

// orphan judges one attachment.
func (p *Plugin) orphan(a *Attachment) (Orphan, bool, error) {
	o := Orphan{Kind: OrphanNetns, Device: a.DeviceID, File: a.file, Netns: a.Extra.Netns}
	stale := a.stale(p.Boot)
	if stale && a.Extra.BootID != "" {
		o.Kind = OrphanBoot
		return o, true, nil
	}
	if o.Netns == "" {
		owner, err := p.store().Owner(a.DeviceID)
		if err != nil {
			return o, false, err
		}
		if stale && !p.alive(owner) { // a namespace does not outlive a boot either
			o.Kind, o.Netns = OrphanBoot, owner
			return o, true, nil
		}
		if o.Netns = owner; owner == "" {
			// sriov-cni's, and it does not say where the VF is. Only an interface
			// that is back on the host shows that no pod has it.
			vf, err := FindVF(p.Sysfs, a.DeviceID)
			return o, err == nil && vf.Netdev != "", nil
		}
	}
	return o, !p.alive(o.Netns), nil
}

// daemonLock is how long the daemon waits for an ADD or DEL of the same VF.
const daemonLock = time.Second

// ErrVFLocked says that the plugin is at work on the VF: at ADD or DEL, which takes
// as long as its IPAM plugin.
var ErrVFLocked = errors.New("the CNI plugin is at work on the VF (ADD or DEL, or an IPAM plugin that hangs)")

// LockVF keeps ADD and DEL away from the VF until unlock is called, or gives
// [ErrVFLocked] after a second. It makes no directory: without the one of the
// locks no ADD ever got to a VF, as before /var is mounted.
func (p *Plugin) LockVF(ctx context.Context, addr string) (unlock func(), err error) {
	if !sysfs.IsPCIAddress(addr) {
		return nil, fmt.Errorf("%q is no PCI address", addr)
	}
	_, err = os.Lstat(filepath.Dir(p.store().lock(addr)))
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	if unlock, err = p.lockSoon(ctx, addr); err == nil {
		return unlock, nil
	}
	return p.unlockable(addr, err)
}

func (p *Plugin) lockSoon(ctx context.Context, addr string) (unlock func(), err error) {
	wait, cancel := context.WithTimeout(ctx, daemonLock)
	defer cancel()
	unlock, err = p.store().Lock(wait, addr)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, ErrVFLocked
	}
	return unlock, err
}

// unlockable judges a lock that was not to be taken for another reason than that
// somebody has it: on a file system that is full or read-only nobody has a lock that
// is no file, and nobody gets it.
func (p *Plugin) unlockable(addr string, err error) (unlock func(), _ error) {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS} {
		if !errors.Is(err, full) {
			continue
		}
		if _, missing := os.Lstat(p.store().lock(addr)); errors.Is(missing, fs.ErrNotExist) {
			return func() {}, nil
		}
	}
	return nil, err
}

// TakeBack does for an orphan what DEL would have done, but for the IPAM plugin:
// a DEL that comes later calls that. The caller has made sure that nothing shows
// the VF to be in use, and that it is not given to another pod meanwhile. An
// orphan that is none any more is no error.
func (p *Plugin) TakeBack(ctx context.Context, o Orphan) error {
	if !sysfs.IsPCIAddress(o.Device) || o.File != filepath.Base(o.File) && o.File != "" {
		return fmt.Errorf("no attachment: %+v", o)
	}
	unlock, err := p.lockSoon(ctx, o.Device)
	if err != nil {
		return err
	}
	defer unlock()
	if o.Kind == OrphanAllocation {
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
	if now, still, err := p.orphan(a); err != nil || !still || now.Kind != o.Kind {
		return err
	}
	newest, err := p.newest(a)
	if err != nil {
		return err
	}
	if !newest {
		// What it says of the VF is history: a later pod had it, or has it.
		return p.forget(a.file)
	}
	return p.end(ctx, a)
}

// newest reports whether the attachment is the last one of its VF.
func (p *Plugin) newest(a *Attachment) (bool, error) {
	owner, err := p.store().Owner(a.DeviceID)
	if err != nil {
		return false, err
	}
	if owner != "" && a.Extra.Netns != "" {
		return owner == a.Extra.Netns || a.stale(p.Boot), nil
	}
	all, err := p.store().All(p.Boot)
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(all, func(b *Attachment) bool {
		return b.DeviceID == a.DeviceID && b.file != a.file && !b.stale(p.Boot) && b.written.After(a.written)
	}), nil
}
