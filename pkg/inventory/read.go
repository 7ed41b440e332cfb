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
	"sync/atomic"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// workers is how many functions are read at a time. Reading sysfs is system
// calls that hardly wait; a remote tree waits for the network.
const workers = 8

// Read reads everything once. network may be nil: interface attributes
// then come from sysfs, and VF attributes, eswitch modes and uplinks stay
// unknown. It fails only when the list of PCI devices cannot be read or ctx
// ends.
func Read(ctx context.Context, tree sysfs.Tree, network Network) (*Snapshot, error) {
	return ReadNeeded(ctx, tree, network, Everything())
}

// ReadNeeded is Read without what is not needed.
func ReadNeeded(ctx context.Context, tree sysfs.Tree, network Network, needs Needs) (*Snapshot, error) {
	r := &reader{tree: tree, net: network, needs: needs, unlisted: map[string]bool{}}
	addrs, err := tree.ReadDir(sysfs.PCIDevices)
	if err != nil {
		return nil, fmt.Errorf("list PCI devices: %w", err)
	}

	var wg sync.WaitGroup
	wg.Go(func() { r.readNetwork(ctx) })
	wg.Go(func() { r.readClasses(ctx) })
	funcs := r.scan(ctx, addrs)
	wg.Wait()

	s := r.assemble(ctx, funcs)
	r.applyNetwork(ctx, s)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read inventory: %w", err)
	}
	slices.SortFunc(r.notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.What, b.What), cmp.Compare(a.Err, b.Err))
	})
	s.Notes = r.notes
	return s, nil
}

type reader struct {
	tree  sysfs.Tree
	net   Network
	needs Needs

	mu    sync.Mutex
	notes []Note
	// vfPaths holds the physical directories of the VFs that the PFs read so far
	// link to. It saves questions whose answers are known (a VF is no PF); what
	// comes out does not depend on who was read first.
	vfPaths sync.Map

	classes

	// From the network, nil without one.
	links   []nl.Link
	byName  map[string]*nl.Link
	uplinks map[int]string
	uppers  map[int]string
	route   bool
	answers NetworkAnswers
	// unlisted are the names of interfaces that sysfs had to describe; guarded by mu.
	unlisted map[string]bool
}

// note records what could not be read. An attribute that is not there is no
// news; the callers leave those out.
func (r *reader) note(device, what string, err error) {
	var pe *sysfs.PathError
	text := err.Error()
	if errors.As(err, &pe) {
		// The device and attribute are named beside it; the full path would
		// differ between the machine and a copy of its tree.
		text = pe.Op + ": " + pe.Err.Error()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var source *Unanswerable
	n := Note{Device: device, What: what, Err: text, Unanswerable: errors.As(err, &source)}
	if device != wholeNetwork || !slices.Contains(r.notes, n) {
		r.notes = append(r.notes, n)
	}
}

// each calls f for 0..n-1 on a few goroutines, until ctx ends.
func each(ctx context.Context, n int, f func(int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(workers, n) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				f(i)
			}
		})
	}
	wg.Wait()
}

// found is a PCI function of a class that we care about, half read; what only a PF
// has is empty in others.
type found struct {
	PF
	path string // its physical directory
	isPF bool
	// vfs maps the address of each VF to its index.
	vfs map[string]int
}

// scan reads the functions of base class 02 and 12, sorted by address.
func (r *reader) scan(ctx context.Context, addrs []string) []*found {
	all := make([]*found, len(addrs))
	each(ctx, len(addrs), func(i int) {
		all[i] = r.readFunction(addrs[i])
	})
	all = slices.DeleteFunc(all, func(f *found) bool { return f == nil })
	slices.SortFunc(all, func(a, b *found) int { return compareAddress(a.Address, b.Address) })
	return all
}

// compareAddress orders by domain, bus, device, function: longer domains (VMD)
// come last, and within one length the digits decide.
func compareAddress(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// readFunction returns nil for functions that are of no interest or gone.
func (r *reader) readFunction(addr string) *found {
	f := &found{PF: PF{Function: Function{Address: addr, NUMANode: -1, IOMMUGroup: -1}}}
	known, isVF := r.vfPaths.Load(addr)
	if isVF {
		f.path, _ = known.(string)
	} else {
		f.path = r.physical(addr)
	}
	if !r.identify(f) {
		return nil
	}
	if !isVF {
		r.readSRIOV(f)
	}
	if f.isPF || r.needs.VFSettings {
		f.DriverOverride = r.optString(f, sysfs.AttrDriverOverride)
		if f.DriverOverride == "(null)" {
			f.DriverOverride = ""
		}
	}
	if f.isPF || r.needs.ACPIIndexes {
		f.ACPIIndex = r.optString(f, sysfs.AttrACPIIndex)
	}
	if n, err := strconv.Atoi(r.optString(f, sysfs.AttrNUMANode)); err == nil && n >= 0 {
		f.NUMANode = n
	}
	if n, err := strconv.Atoi(r.optLink(f, sysfs.LinkIOMMUGroup)); err == nil {
		f.IOMMUGroup = n
	}
	if nic.VFIO(f.Driver) && f.IOMMUGroup >= 0 {
		f.NoIOMMU = r.text(sysfs.IOMMUGroupName(f.IOMMUGroup)) == sysfs.GroupNoIOMMU
	}
	if f.isPF || r.needs.AER != nil && r.needs.AER(addr) {
		f.AER = r.readAER(f)
	}
	return f
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

// identify fills ids, class and driver and reports whether the function is a
// network device or processing accelerator. The uevent attribute has all of it
// in one read; the single attributes serve where it does not.
func (r *reader) identify(f *found) bool {
	env, err := r.tree.ReadFile(sysfs.Join(f.path, sysfs.AttrUevent))
	if err == nil {
		f.parseUevent(string(env))
	}
	if (f.Class == "" || f.Vendor == "") && !r.identifySlowly(f) {
		return false
	}
	return f.IsNetwork() || f.IsAccelerator()
}

// parseUevent reads DRIVER=igb, PCI_CLASS=20000, PCI_ID=8086:10C9.
func (f *found) parseUevent(env string) {
	for line := range strings.Lines(env) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "DRIVER":
			f.Driver = value
		case "PCI_CLASS":
			if n, err := strconv.ParseUint(value, 16, 24); err == nil {
				f.Class = fmt.Sprintf("%06x", n)
			}
		case "PCI_ID":
			vendor, device, ok := strings.Cut(strings.ToLower(value), ":")
			if ok && len(vendor) == 4 && len(device) == 4 {
				f.Vendor, f.Device = vendor, device
			}
		}
	}
}

func (r *reader) identifySlowly(f *found) bool {
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

// readSRIOV fills the PF's part, when the function is one.
func (r *reader) readSRIOV(f *found) {
	total, err := sysfs.ReadInt(r.tree, sysfs.Join(f.path, sysfs.AttrTotalVFs))
	if sysfs.IsAbsent(err) {
		return
	}
	f.isPF, f.TotalVFs, f.AutoProbe = true, total, true
	if err != nil {
		r.note(f.Address, sysfs.AttrTotalVFs, err)
	}
	entries, err := r.tree.ReadDir(f.path)
	if err != nil {
		r.note(f.Address, "VF links", err)
	}
	f.vfs = make(map[string]int)
	for _, name := range entries {
		digits, ok := strings.CutPrefix(name, sysfs.PrefixVirtFn)
		if !ok {
			continue
		}
		index, err := strconv.Atoi(digits)
		if err != nil {
			continue
		}
		link, err := r.tree.ReadLink(sysfs.Join(f.path, name))
		if err != nil {
			r.note(f.Address, name, err)
			continue
		}
		f.vfs[sysfs.Base(link)] = index
		r.vfPaths.Store(sysfs.Base(link), link)
	}
	if f.NumVFs, err = sysfs.ReadInt(r.tree, sysfs.Join(f.path, sysfs.AttrNumVFs)); err != nil {
		f.NumVFs = len(f.vfs)
		r.note(f.Address, sysfs.AttrNumVFs, err)
	}
	if s := r.optString(f, sysfs.AttrDriversAutoprobe); s != "" {
		f.AutoProbe = s != "0"
	}
	// The kernel prints it as a bare hexadecimal number.
	device := strings.TrimPrefix(r.optString(f, sysfs.AttrVFDevice), "0x")
	if n, err := strconv.ParseUint(device, 16, 16); err == nil && n != 0 {
		f.VFDevice = fmt.Sprintf("%04x", n)
	}
}

// optString reads an attribute that need not exist, "" when it does not.
func (r *reader) optString(f *found, attr string) string {
	return r.attribute(f.Address, attr, sysfs.Join(f.path, attr))
}

// attribute reads a file that need not exist, "" when it does not; device and what
// name it in a note.
func (r *reader) attribute(device, what, path string) string {
	s, err := sysfs.ReadString(r.tree, path)
	if err != nil && !sysfs.IsAbsent(err) {
		r.note(device, what, err)
	}
	return s
}

// text reads a file whose absence or failure is no news, "" then.
func (r *reader) text(path string) string {
	s, err := sysfs.ReadString(r.tree, path)
	if err != nil {
		return ""
	}
	return s
}

// driver is the one that has the device with the directory, "" when there is none.
func (r *reader) driver(path string) string {
	link, err := r.tree.ReadLink(sysfs.Join(path, sysfs.LinkDriver))
	if err != nil {
		return ""
	}
	return sysfs.Base(link)
}

// optLink is the name of what a link points to that need not exist, "" when it does
// not.
func (r *reader) optLink(f *found, name string) string {
	link, err := r.tree.ReadLink(sysfs.Join(f.path, name))
	switch {
	case err == nil:
		return sysfs.Base(link)
	case !sysfs.IsAbsent(err):
		r.note(f.Address, name, err)
	}
	return ""
}

// readAER sums up the totals, nil when the function has no AER capability.
func (r *reader) readAER(f *found) *AER {
	fatal := r.optString(f, sysfs.AttrAERFatal)
	if fatal == "" {
		return nil
	}
	return &AER{
		Fatal:    aerTotal(fatal),
		NonFatal: aerTotal(r.optString(f, sysfs.AttrAERNonFatal)),
	}
}

// aerTotal finds "TOTAL_ERR_FATAL 3" or "TOTAL_ERR_NONFATAL 3"; source:
// Documentation/ABI/testing/sysfs-bus-pci-devices-aer_stats.
func aerTotal(s string) int64 {
	i := strings.LastIndex(s, "TOTAL_ERR")
	if i < 0 {
		return 0
	}
	fields := strings.Fields(s[i:])
	if len(fields) < 2 {
		return 0
	}
	n, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return n
}
