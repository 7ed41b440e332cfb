package inventory

import (
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

// reader asks about one part of the machine, in one reading: the whole ([common]),
// or one device.
type reader struct {
	tree    sysfs.Tree
	net     Network
	needs   Needs
	workers int // at a time
	// lane is where the device's questions go, nil for the whole.
	lane *lane

	mu    sync.Mutex
	notes []Note
	// unlisted are the names of interfaces that sysfs had to describe; guarded by mu.
	unlisted map[string]bool

	classes
	lists
}

// lists are netlink's about no single device; zero without a Network.
type lists struct {
	links   []nl.Link
	byName  map[string]*nl.Link
	uplinks map[int]string
	uppers  map[int]string
	route   bool
	answers NetworkAnswers
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
func each(ctx context.Context, workers, n int, f func(int)) {
	if workers == 1 || n == 1 {
		for i := 0; i < n && ctx.Err() == nil; i++ {
			f(i)
		}
		return
	}
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

// readFunction fills what is no part of discovery.
func (r *reader) readFunction(f *found) {
	if f.isPF {
		r.readSRIOV(f)
	}
	if f.isPF && r.needs.PFOverrides || !f.isPF && r.needs.VFSettings {
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
	if f.isPF || r.needs.AER != nil && r.needs.AER(f.Address) {
		f.AER = r.readAER(f)
	}
}

// readSRIOV fills what a PF has beside what discovery found.
func (r *reader) readSRIOV(f *found) {
	if s := r.optString(f, sysfs.AttrDriversAutoprobe); s != "" {
		f.AutoProbe = s != "0"
	}
	// The kernel prints it as a bare hexadecimal number.
	device := strings.TrimPrefix(r.optString(f, sysfs.AttrVFDevice), "0x")
	if n, err := strconv.ParseUint(device, 16, 16); err == nil && n != 0 {
		f.VFDevice = fmt.Sprintf("%04x", n)
	}
}

// readVF reads a VF, nil when it is of no interest or gone. The uevent attribute has
// ids, class and driver in one read; the single attributes serve where it does not.
func (r *reader) readVF(link vfLink) *found {
	f := newFound(link.addr)
	f.path = link.path
	if !r.identifyByUevent(f) && !r.identify(f) {
		return nil
	}
	if !f.IsNetwork() && !f.IsAccelerator() {
		return nil
	}
	r.readFunction(f)
	return f
}

// identifyByUevent reports whether the uevent attribute has ids and class.
func (r *reader) identifyByUevent(f *found) bool {
	env, err := r.tree.ReadFile(sysfs.Join(f.path, sysfs.AttrUevent))
	if err == nil {
		f.parseUevent(string(env))
	}
	return f.Class != "" && f.Vendor != ""
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
