package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/install"
	"github.com/talos-sriov/talos-sriov/pkg/metrics"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// figures is what the metrics say: the last status, and what is counted while
// the daemon runs. It is metrics.Pages.
type figures struct {
	proc string
	last atomic.Pointer[told]
	counts
}

// told is what the last turn of the loop came to.
type told struct {
	status  *status.Status
	plugin  []deviceplugin.Status
	readErr error
}

// counts go up only. Whoever counts something new adds it here, and to families.
type counts struct {
	mu        sync.Mutex
	looks     int
	allocated map[string]int     // devices, by resource
	writes    map[writeCount]int // by PF and result
}

type writeCount struct{ pf, result string }

// What a write came to.
const (
	writeOK      = "ok"
	writeRefused = "refused" // by the driver, and the document allows that
	writeFailed  = "failed"
)

func (c *counts) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
}

func (c *counts) allocate(resource string, devices int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.allocated == nil {
		c.allocated = map[string]int{}
	}
	c.allocated[resource] += devices
}

func (c *counts) write(pf, result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writes == nil {
		c.writes = map[writeCount]int{}
	}
	c.writes[writeCount{pf, result}]++
}

// Health implements metrics.Pages: the loop runs, and can read the machine. A
// bad document is no illness of the daemon's.
func (f *figures) Health() error {
	t := f.last.Load()
	switch {
	case t == nil:
		return errors.New("the first look at the machine is not done yet")
	case t.readErr != nil:
		return fmt.Errorf("the machine cannot be read: %w", t.readErr)
	}
	return nil
}

// Metrics implements metrics.Pages.
func (f *figures) Metrics() []byte {
	t := f.last.Load()
	if t == nil {
		t = &told{status: &status.Status{Spec: status.Spec{State: status.SpecUnknown}}}
	}
	return metrics.Write(append(families(t, &f.counts), process(f.proc, t.status)...))
}

// process says what every Prometheus client library says of its process.
func process(proc string, s *status.Status) []metrics.Family {
	out := []metrics.Family{{
		Name: "process_start_time_seconds", Help: "When the process started, in seconds since 1970.", Type: metrics.Gauge,
		Samples: []metrics.Sample{{Value: float64(s.Daemon.Started.Unix())}},
	}}
	data, err := os.ReadFile(filepath.Join(proc, "self/statm"))
	if err != nil {
		return out
	}
	// size resident shared ..., in pages: proc_pid_statm(5).
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return out
	}
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		return out
	}
	return append(out, metrics.Family{
		Name: "process_resident_memory_bytes", Help: "Resident memory in bytes.", Type: metrics.Gauge,
		Samples: []metrics.Sample{{Value: float64(pages * os.Getpagesize())}},
	})
}

// families turns what is known into metrics. It is pure but for the counts'
// lock.
func families(t *told, c *counts) []metrics.Family {
	var out []metrics.Family
	family := func(name, help string, typ metrics.Type) func(v float64, labels ...string) {
		out = append(out, metrics.Family{Name: "sriov_" + name, Help: help, Type: typ})
		f := len(out) - 1
		return func(v float64, labels ...string) {
			out[f].Samples = append(out[f].Samples, metrics.Sample{Labels: metrics.L(labels...), Value: v})
		}
	}
	s := t.status
	family("build_info", "Always 1; the version is a label.", metrics.Gauge)(1, "version", s.Daemon.Version)

	add := family("spec_state", "1 for the state that the newest document is in, 0 for the others.", metrics.Gauge)
	for _, state := range []status.SpecState{status.SpecUnknown, status.SpecAbsent, status.SpecAccepted, status.SpecPartly, status.SpecRefused} {
		add(number(s.Spec.State == state), "state", string(state))
	}
	family("spec_last_good", "1 while an older document is in force because the newest one is refused.", metrics.Gauge)(number(s.Spec.LastGood))

	add = family("pfs", "How many PFs that the document selects are in the state.", metrics.Gauge)
	for _, state := range []status.PFState{status.PFReady, status.PFPending, status.PFWaiting, status.PFFailed} {
		n := 0
		for i := range s.PFs {
			n += int(number(s.PFs[i].State == state))
		}
		add(float64(n), "state", string(state))
	}
	wanted := family("pf_vfs_wanted", "VFs that the document asks for on the PF.", metrics.Gauge)
	present := family("pf_vfs", "VFs that the PF has.", metrics.Gauge)
	problems := family("pf_problems", "Problems that the status names for the PF.", metrics.Gauge)
	drift := family("pf_drift_repairs_total", "How often the PF was found changed by somebody else, and put right.", metrics.Counter)
	for i := range s.PFs {
		f := &s.PFs[i]
		labels := []string{"pf", f.Address, "name", f.Name}
		if f.Desired.NumVFs != nil {
			wanted(float64(*f.Desired.NumVFs), labels...)
		}
		present(float64(f.Actual.NumVFs), labels...)
		problems(float64(len(f.Errors)), labels...)
		drift(float64(f.Drift), labels...)
	}
	family("problems", "Problems that belong to no PF.", metrics.Gauge)(float64(len(s.Problems)))

	if s.CNI != nil {
		add = family("cni_plugin_state", "1 for the state that the installation of the CNI plugin is in, 0 for the others.", metrics.Gauge)
		for _, state := range []install.State{install.Installed, install.Off, install.Pending, install.Foreign, install.Newer, install.Failed} {
			add(number(s.CNI.State == string(state)), "state", string(state))
		}
	}
	var orphans status.Orphans
	if s.Orphans != nil {
		orphans = *s.Orphans
	}
	family("orphans_returned_total", "What was taken back from pods that ended without the CNI plugin's DEL.", metrics.Counter)(float64(orphans.Returned))
	family("orphans_pending", "What pods that are gone have left, and was not taken back yet.", metrics.Gauge)(float64(len(orphans.Pending)))

	devices := family("pool_devices", "Devices of the pool, by whether they can be allocated.", metrics.Gauge)
	unhealthy := family("pool_unhealthy_devices", "Devices of the pool that cannot be allocated, by cause.", metrics.Gauge)
	registered := family("pool_registered", "1 while the kubelet knows the resource and has its device list stream open.", metrics.Gauge)
	for i := range s.Pools {
		p := &s.Pools[i]
		devices(float64(p.Healthy), "resource", p.ResourceName, "healthy", "true")
		devices(float64(p.Devices-p.Healthy), "resource", p.ResourceName, "healthy", "false")
		registered(number(p.Registered), "resource", p.ResourceName)
		causes := map[string]int{}
		for j := range p.Members {
			if d := &p.Members[j]; !d.Healthy {
				causes[d.Cause]++
			}
		}
		for cause, n := range causes {
			unhealthy(float64(n), "resource", p.ResourceName, "cause", cause)
		}
	}
	add = family("pool_registrations_total", "Successful registrations with the kubelet.", metrics.Counter)
	for i := range t.plugin {
		add(float64(t.plugin[i].Registrations), "resource", t.plugin[i].Resource)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	add = family("pool_allocated_devices_total", "Devices that were given to the kubelet for a container.", metrics.Counter)
	for i := range s.Pools {
		name := s.Pools[i].ResourceName
		add(float64(c.allocated[name]), "resource", name)
	}
	add = family("writes_total", "Writes to the kernel, by PF and what came of them.", metrics.Counter)
	for w, n := range c.writes {
		add(float64(n), "pf", w.pf, "result", w.result)
	}
	family("looks_total", "How often the machine was read and the plan computed.", metrics.Counter)(float64(c.looks))
	return out
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// listenProblem is what the status says of metrics that cannot be served.
func listenProblem(err error) plan.Problem {
	return plan.Problem{
		Msg:  fmt.Sprintf("the metrics are not served: %v", err),
		Hint: fmt.Sprintf("free the address, or write another one as metrics.listen; it is tried again every %s", metrics.Retry),
	}
}
