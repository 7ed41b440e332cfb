package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// found is a PCI function of a class that we care about, half read; what only a PF
// has is empty in others.
type found struct {
	PF
	path string // its physical directory
	isPF bool
	// vfs are the links to the PF's VFs, and unlisted why they are not known.
	vfs      []vfLink
	unlisted error
}

// vfLink is what a link virtfnN says.
type vfLink struct {
	index      int
	addr, path string
}

func newFound(addr string) *found {
	return &found{PF: PF{Function: Function{Address: addr, NUMANode: -1, IOMMUGroup: -1}}}
}

// discovery finds out which functions there are, by links, directories and attributes
// that the kernel answers from memory and without a lock of the device: it works
// while a device does not answer.
type discovery struct {
	*reader
	// seen are by address; each function is looked at once, a VF after its PF, so
	// that nothing is asked of the thousands that a PF links to.
	seen sync.Map
	// vfs are the addresses that the PFs looked at so far link to.
	vfs sync.Map
}

// isVF reports whether a PF that was looked at has the function.
func (d *discovery) isVF(addr string) bool {
	_, ok := d.vfs.Load(addr)
	return ok
}

// discover finds the functions of base class 02 and 12 that are no VF of a PF among
// them, sorted by address.
func (r *reader) discover(ctx context.Context, addrs []string) []*found {
	d := &discovery{reader: r}
	all := make([]*found, len(addrs))
	each(ctx, r.workers, len(addrs), func(i int) { all[i] = d.once(addrs[i]) })
	// A tree that was made by hand may have no link from a VF to its PF: which of the
	// two was looked at first makes no difference here.
	all = slices.DeleteFunc(all, func(f *found) bool { return f == nil || d.isVF(f.Address) })
	r.notes = slices.DeleteFunc(r.notes, func(n Note) bool { return d.isVF(n.Device) })
	slices.SortFunc(all, func(a, b *found) int { return compareAddress(a.Address, b.Address) })
	return all
}

// once seen at the function; who comes second waits.
func (d *discovery) once(addr string) *found {
	if d.isVF(addr) {
		return nil
	}
	scan, ok := d.seen.Load(addr)
	if !ok {
		scan, _ = d.seen.LoadOrStore(addr, sync.OnceValue(func() *found { return d.scan(addr) }))
	}
	f, _ := scan.(func() *found)
	return f()
}

// scan returns nil for functions that are of no interest or gone, and for VFs of a PF.
func (d *discovery) scan(addr string) *found {
	f := newFound(addr)
	f.path = d.physical(addr)
	if pf := d.physFn(f.path); pf != "" && d.physFn(pf) == "" { // not in a circle
		of := d.once(sysfs.Base(pf))
		if d.isVF(addr) || of != nil && of.unlisted != nil {
			return nil // also when its PF's VFs are not known: this one is no card of its own
		}
	}
	if !d.identify(f) || !f.IsNetwork() && !f.IsAccelerator() {
		return nil
	}
	total, err := sysfs.ReadInt(d.tree, sysfs.Join(f.path, sysfs.AttrTotalVFs))
	if sysfs.IsAbsent(err) {
		return f
	}
	f.isPF, f.TotalVFs, f.AutoProbe = true, total, true
	if err != nil {
		d.note(f.Address, sysfs.AttrTotalVFs, err)
	}
	d.findVFs(f)
	return f
}

// physFn is the directory of the PF of the function with the directory, "" when it has
// none.
func (d *discovery) physFn(path string) string {
	pf, err := d.tree.ReadLink(sysfs.Join(path, sysfs.LinkPhysFn))
	if err != nil {
		return ""
	}
	return pf
}

// findVFs follows the PF's links to its VFs. A link that cannot be read does not count as
// none: the PF is silent then.
func (d *discovery) findVFs(f *found) {
	entries, err := d.tree.ReadDir(f.path)
	if err != nil && !sysfs.IsAbsent(err) {
		f.unlisted = fmt.Errorf("list the links to them: %w", err)
	}
	for _, name := range entries {
		digits, ok := strings.CutPrefix(name, sysfs.PrefixVirtFn)
		if !ok {
			continue
		}
		index, err := strconv.Atoi(digits)
		if err != nil {
			continue
		}
		link, err := d.tree.ReadLink(sysfs.Join(f.path, name))
		if sysfs.IsAbsent(err) {
			continue // it went away while the others were read
		}
		if err != nil {
			f.unlisted = fmt.Errorf("read the link %s: %w", name, err)
			return
		}
		f.NumVFs++
		f.vfs = append(f.vfs, vfLink{index, sysfs.Base(link), link})
		d.vfs.Store(sysfs.Base(link), true)
	}
}

// physical is the function's own directory.
func (r *reader) physical(addr string) string {
	path, err := r.tree.ReadLink(sysfs.Device(addr))
	if err != nil {
		// Not a link in a hand-made tree: the directory itself serves then.
		return sysfs.Device(addr)
	}
	return path
}

// compareAddress orders by domain, bus, device, function: longer domains (VMD)
// come last, and within one length the digits decide.
func compareAddress(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// identify fills ids, class and driver from attributes that no lock is behind. It
// reports false when one cannot be read, and stops where the class is not ours.
func (r *reader) identify(f *found) bool {
	for _, a := range []struct {
		attr   string
		digits int
		to     *string
	}{
		{sysfs.AttrClass, 6, &f.Class},
		{sysfs.AttrVendor, 4, &f.Vendor},
		{sysfs.AttrDevice, 4, &f.Device},
	} {
		s, err := sysfs.ReadString(r.tree, sysfs.Join(f.path, a.attr))
		if err == nil {
			var n uint64
			if n, err = strconv.ParseUint(s, 0, 4*a.digits); err == nil {
				*a.to = fmt.Sprintf("%0*x", a.digits, n)
				if !f.IsNetwork() && !f.IsAccelerator() {
					return true
				}
				continue
			}
			err = fmt.Errorf("%q is not a hexadecimal number", s)
		}
		if sysfs.IsAbsent(err) {
			r.note(f.Address, "device", errors.New("it went away while it was read"))
			return false
		}
		r.note(f.Address, a.attr, err)
		return false
	}
	if f.Driver == "" {
		f.Driver = r.optLink(f, sysfs.LinkDriver)
	}
	return true
}
