package deviceplugin

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/renameio/v2"
	cdi "tags.cncf.io/container-device-interface/specs-go"

	"github.com/talos-sriov/talos-sriov/pkg/pci"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
)

// files are the device-info and CDI files. Their directories are on a tmpfs and
// shared with others; only files of our own name are ever touched.
type files struct {
	infoDir string // "": none are written
	cdiDir  string // "": none are written, whatever a pool says

	mu        sync.Mutex
	resources map[string]bool   // all that were ever offered by this process
	cdi       map[string][]byte // file name -> wanted content
	written   map[string]int    // device-info files: how often each was written
}

func newFiles(opts *Options) *files {
	return &files{infoDir: opts.DeviceInfoDir, cdiDir: opts.CDIDir, resources: map[string]bool{}, cdi: map[string][]byte{}, written: map[string]int{}}
}

// infoSuffix ends the name of every device-info file.
const infoSuffix = "-device.json"

// InfoName is the file name of a device's device-info file. Source: Network
// Plumbing Working Group, Device Information Specification.
func InfoName(resource, id string) string {
	return strings.ReplaceAll(resource+"-"+id, "/", "-") + infoSuffix
}

// writeInfo writes the device-info files of an allocation.
func (f *files) writeInfo(resource string, devices []*pool.Device) error {
	if f.infoDir == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range devices {
		if d.DeviceInfo == nil {
			continue
		}
		text, err := json.Marshal(d.DeviceInfo)
		if err != nil {
			return fmt.Errorf("encode device-info: %w", err)
		}
		name := InfoName(resource, d.ID)
		f.written[name]++
		if err := write(f.infoDir, name, text, 0o444); err != nil {
			return fmt.Errorf("device-info file: %w", err)
		}
	}
	return nil
}

// restore writes the device-info files of the given (sorted) devices that have none: a
// tmpfs does not outlive a boot, and pods and their devices do.
func (f *files) restore(pools []pool.Pool, given []string) error {
	if f.infoDir == "" || len(given) == 0 {
		return nil
	}
	var errs []error
	for i := range pools {
		var missing []*pool.Device
		for j := range pools[i].Devices {
			d := &pools[i].Devices[j]
			if _, ok := slices.BinarySearch(given, d.ID); !ok || d.DeviceInfo == nil {
				continue
			}
			if _, err := os.Lstat(filepath.Join(f.infoDir, InfoName(pools[i].Resource, d.ID))); errors.Is(err, fs.ErrNotExist) {
				missing = append(missing, d)
			}
		}
		errs = append(errs, f.writeInfo(pools[i].Resource, missing))
	}
	return errors.Join(errs...)
}

// settle removes the device-info files of devices that nobody has any more. held
// is asked without the lock. A file that was written after the question belongs to
// an allocation that the answer did not know of, and stays.
func (f *files) settle(held func(id string) bool) error {
	if f.infoDir == "" {
		return nil
	}
	f.mu.Lock()
	resources, written := maps.Clone(f.resources), maps.Clone(f.written)
	f.mu.Unlock()
	entries, err := os.ReadDir(f.infoDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list device-info files: %w", err)
	}
	free := slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		id := infoDevice(resources, e.Name())
		return id == "" || held(id)
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, e := range free {
		if f.written[e.Name()] == written[e.Name()] {
			errs = append(errs, discard(filepath.Join(f.infoDir, e.Name()), "device-info file"))
		}
	}
	return errors.Join(errs...)
}

// infoDevice returns the PCI address in the name of a device-info file of one of the
// resources, "" for other files.
func infoDevice(resources map[string]bool, name string) string {
	stem, ok := strings.CutSuffix(name, infoSuffix)
	if !ok {
		return ""
	}
	for r := range resources {
		if id, ok := strings.CutPrefix(stem, strings.ReplaceAll(r, "/", "-")+"-"); ok && pci.Valid(id) {
			return id
		}
	}
	return ""
}

// update takes in the pools: their CDI files are written, those of pools that
// are gone removed.
func (f *files) update(pools []pool.Pool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range pools {
		f.resources[pools[i].Resource] = true
	}
	if f.cdiDir == "" {
		return nil
	}
	want := map[string][]byte{}
	for i := range pools {
		if pools[i].CDI {
			maps.Copy(want, cdiFiles(&pools[i]))
		}
	}
	errs := []error{f.writeCDI(want)}
	maps.DeleteFunc(f.cdi, func(name string, _ []byte) bool { return want[name] == nil })
	entries, err := os.ReadDir(f.cdiDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("list CDI files: %w", err))
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), cdiPrefix) || !strings.HasSuffix(e.Name(), ".json") || f.cdi[e.Name()] != nil {
			continue
		}
		errs = append(errs, discard(filepath.Join(f.cdiDir, e.Name()), "CDI file"))
	}
	return errors.Join(errs...)
}

// ensureCDI makes sure that the CDI files that name the devices are there, in
// case somebody cleaned the directory.
func (f *files) ensureCDI(p *pool.Pool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writeCDI(cdiFiles(p))
}

// writeCDI writes those of the CDI files that are not there with their content. What
// fails is tried again at the next update or allocation. The caller has the lock.
func (f *files) writeCDI(want map[string][]byte) error {
	var errs []error
	for name, content := range want {
		_, err := os.Lstat(filepath.Join(f.cdiDir, name))
		if err == nil && bytes.Equal(f.cdi[name], content) {
			continue
		}
		if err := write(f.cdiDir, name, content, 0o644); err != nil {
			delete(f.cdi, name)
			errs = append(errs, fmt.Errorf("CDI file: %w", err))
			continue
		}
		f.cdi[name] = content
	}
	return errors.Join(errs...)
}

// write replaces a file in one step, and makes its directory.
func write(dir, name string, content []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(dir, name), content, mode, renameio.WithTempDir(dir))
}

// discard removes a file, if it is still there; what says which it is.
func discard(path, what string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", what, err)
	}
	return nil
}

// CDI, as far as we need it. Source: CNCF tag-runtime, Container Device
// Interface specification 0.5.0, the first with hostPath.
const (
	cdiVersion          = "0.5.0"
	cdiPrefix           = "sriovd-"
	cdiAnnotationPrefix = "cdi.k8s.io/"
)

// cdiKind is the vendor and class under which a device is known.
func cdiKind(resource string, kind pool.Kind) string {
	prefix, _, _ := strings.Cut(resource, "/")
	return prefix + "/" + string(cmp.Or(kind, pool.KindNet))
}

// cdiName is the fully qualified name of a device.
func cdiName(resource string, d *pool.Device) string { return cdiKind(resource, d.Kind) + "=" + d.ID }

// cdiFiles are the files of a pool, one for each kind of device in it. Devices
// without nodes have nothing to inject and are left out; a device without edits
// would make the whole file invalid.
func cdiFiles(p *pool.Pool) map[string][]byte {
	specs := map[pool.Kind]*cdi.Spec{}
	for i := range p.Devices {
		d := &p.Devices[i]
		if len(d.Nodes) == 0 {
			continue
		}
		s := specs[d.Kind]
		if s == nil {
			s = &cdi.Spec{Version: cdiVersion, Kind: cdiKind(p.Resource, d.Kind)}
			specs[d.Kind] = s
		}
		dev := cdi.Device{Name: d.ID}
		for _, n := range d.Nodes {
			dev.ContainerEdits.DeviceNodes = append(dev.ContainerEdits.DeviceNodes, &cdi.DeviceNode{Path: n.ContainerPath, HostPath: n.HostPath, Permissions: n.Permissions})
		}
		s.Devices = append(s.Devices, dev)
	}
	out := map[string][]byte{}
	for _, s := range specs {
		text, err := json.Marshal(s)
		if err != nil {
			continue // strings only: it cannot fail
		}
		_, name, _ := strings.Cut(p.Resource, "/")
		out[cdiPrefix+strings.ReplaceAll(s.Kind, "/", "-")+"-"+name+".json"] = text
	}
	return out
}

// cdiAnnotation is the key under which a container gets the CDI devices of
// one pool. Each pool has its own: the kubelet keeps only the first of two
// equal keys.
func cdiAnnotation(resource string) string {
	const longest = 63 // of the part after the slash
	name := "sriovd_" + strings.ReplaceAll(resource, "/", "_")
	if len(name) > longest {
		sum := sha256.Sum256([]byte(resource))
		name = "sriovd_" + hex.EncodeToString(sum[:8])
	}
	return cdiAnnotationPrefix + name
}
