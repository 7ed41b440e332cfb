package agent

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/install/outcome"
	"github.com/talos-sriov/talos-sriov/pkg/metrics"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// collector makes the metrics of the last status, and of what is counted while the
// daemon runs. It is a prometheus.Collector.
type collector struct {
	last       atomic.Pointer[published]
	reconciles prometheus.Counter
	allocated  *prometheus.CounterVec    // devices, by resource
	writes     *prometheus.CounterVec    // by PF and result
	loop       func(now time.Time) error // why the loop stands still, nil when it does not
}

// published is what the loop found last.
type published struct {
	status  *status.Status
	plugin  []deviceplugin.Status
	readErr error
}

// newCollector returns a collector of nothing yet. loop is asked why the loop stands
// still; nil says that it does not.
func newCollector(loop func(now time.Time) error) *collector {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: prefix + name, Help: help}
	}
	return &collector{
		loop:       loop,
		reconciles: prometheus.NewCounter(counter("reconciles_total", "Reconciles: the machine was read and the plan computed.")),
		allocated: prometheus.NewCounterVec(
			counter("pool_allocated_devices_total", "Devices allocated to containers by the kubelet."), []string{"resource"}),
		writes: prometheus.NewCounterVec(counter("writes_total", "Writes to the kernel, by PF and result."), []string{"pf", "result"}),
	}
}

// pages are what the metrics server serves: c, and what every Prometheus client
// library reports of its process.
func (c *collector) pages() metrics.Pages {
	r := prometheus.NewRegistry()
	r.MustRegister(c, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return metrics.Pages{Metrics: r, Health: c.health}
}

// publish makes this what is collected from now on. None of it may change later.
func (c *collector) publish(s *status.Status, plugin []deviceplugin.Status, readErr error) {
	c.last.Store(&published{s, plugin, readErr})
}

// Results of a write.
const (
	writeOK      = "ok"
	writeRefused = "refused" // by the driver, and the config allows that
	writeFailed  = "failed"
)

func (c *collector) allocate(resource string, devices int) {
	c.allocated.WithLabelValues(resource).Add(float64(devices))
}

func (c *collector) write(pf, result string) { c.writes.WithLabelValues(pf, result).Inc() }

// health is nil while the loop goes round and can read the machine. A bad config does not
// make the daemon unhealthy.
func (c *collector) health() error {
	p := c.last.Load()
	err := c.loop(time.Now())
	switch {
	case err != nil:
		return err
	case p == nil:
		return errors.New("the machine has not been read yet")
	case p.readErr != nil:
		return fmt.Errorf("the machine cannot be read: %w", p.readErr)
	}
	return nil
}

// prefix of the names of all metrics.
const prefix = "sriov_"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

// The metrics that are made of the status.
var (
	descBuildInfo         = desc("build_info", "Always 1; the version is a label.", "version")
	descSpecState         = desc("spec_state", "1 for the state of the newest config, 0 for the others.", "state")
	descSpecLastGood      = desc("spec_last_good", "1 while an older config is in force because the newest is refused.")
	descPFs               = desc("pfs", "PFs that the config selects, by state.", "state")
	descPFVFsWanted       = desc("pf_vfs_wanted", "VFs that the config requests on the PF.", "pf", "name")
	descPFVFs             = desc("pf_vfs", "VFs that the PF has.", "pf", "name")
	descPFProblems        = desc("pf_problems", "Problems of the PF in the status.", "pf", "name")
	descPFDriftRepairs    = desc("pf_drift_repairs_total", "Repairs of the PF after a change by somebody else.", "pf", "name")
	descProblems          = desc("problems", "Problems in the status that belong to no PF.")
	descCNIState          = desc("cni_plugin_state", "1 for the state of the CNI plugin's installation, 0 for the others.", "state")
	descOrphansReturned   = desc("orphans_returned_total", "VFs reclaimed from pods that ended without the CNI plugin's DEL.")
	descOrphansPending    = desc("orphans_pending", "VFs of pods that are gone and that are not reclaimed yet.")
	descPoolDevices       = desc("pool_devices", "Devices of the pool, by whether they can be allocated.", "resource", "healthy")
	descPoolUnhealthy     = desc("pool_unhealthy_devices", "Devices of the pool that cannot be allocated, by cause.", "resource", "cause")
	descPoolRegistered    = desc("pool_registered", "1 while the kubelet knows the resource and has its device list stream open.", "resource")
	descPoolRegistrations = desc("pool_registrations_total", "Successful registrations with the kubelet.", "resource")
)

// Describe implements prometheus.Collector. It names none: which metrics there are
// depends on the status.
func (*collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	p := c.last.Load()
	if p == nil {
		p = &published{status: &status.Status{Spec: status.Spec{State: status.SpecUnknown}}}
	}
	out := samples{ch}
	out.config(p.status)
	out.pfs(p.status)
	out.cni(p.status)
	out.pools(p)
	for i := range p.status.Pools {
		ch <- c.allocated.WithLabelValues(p.status.Pools[i].ResourceName)
	}
	c.writes.Collect(ch)
	ch <- c.reconciles
}

// samples takes the values of metrics.
type samples struct{ ch chan<- prometheus.Metric }

func (out samples) gauge(d *prometheus.Desc, v float64, labels ...string) {
	out.add(d, prometheus.GaugeValue, v, labels)
}

func (out samples) counter(d *prometheus.Desc, v float64, labels ...string) {
	out.add(d, prometheus.CounterValue, v, labels)
}

// add sends one sample. The kernel lets an interface have a name that is no UTF-8,
// and a label must be.
func (out samples) add(d *prometheus.Desc, t prometheus.ValueType, v float64, labels []string) {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD")
	}
	m, err := prometheus.NewConstMetric(d, t, v, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	out.ch <- m
}

func (out samples) config(s *status.Status) {
	out.gauge(descBuildInfo, 1, s.Daemon.Version)
	for _, state := range []status.SpecState{status.SpecUnknown, status.SpecAbsent, status.SpecAccepted, status.SpecPartly, status.SpecRefused} {
		out.gauge(descSpecState, number(s.Spec.State == state), string(state))
	}
	out.gauge(descSpecLastGood, number(s.Spec.LastGood))
}

func (out samples) pfs(s *status.Status) {
	for _, state := range []status.PFState{status.PFReady, status.PFPending, status.PFWaiting, status.PFFailed} {
		n := 0
		for i := range s.PFs {
			n += int(number(s.PFs[i].State == state))
		}
		out.gauge(descPFs, float64(n), string(state))
	}
	for i := range s.PFs {
		f := &s.PFs[i]
		if f.Desired.NumVFs != nil {
			out.gauge(descPFVFsWanted, float64(*f.Desired.NumVFs), f.Address, f.Name)
		}
		out.gauge(descPFVFs, float64(f.Actual.NumVFs), f.Address, f.Name)
		out.gauge(descPFProblems, float64(len(f.Errors)), f.Address, f.Name)
		out.counter(descPFDriftRepairs, float64(f.Drift), f.Address, f.Name)
	}
	out.gauge(descProblems, float64(len(s.Problems)))
}

func (out samples) cni(s *status.Status) {
	if s.CNI != nil {
		for _, state := range outcome.States() {
			out.gauge(descCNIState, number(s.CNI.State == state), string(state))
		}
	}
	orphans := cmp.Or(s.Orphans, &status.Orphans{})
	out.counter(descOrphansReturned, float64(orphans.Returned))
	out.gauge(descOrphansPending, float64(len(orphans.Pending)))
}

func (out samples) pools(p *published) {
	for i := range p.status.Pools {
		pool := &p.status.Pools[i]
		out.gauge(descPoolDevices, float64(pool.Healthy), pool.ResourceName, "true")
		out.gauge(descPoolDevices, float64(pool.Devices-pool.Healthy), pool.ResourceName, "false")
		out.gauge(descPoolRegistered, number(pool.Registered), pool.ResourceName)
		causes := map[string]int{}
		for j := range pool.Members {
			if d := &pool.Members[j]; !d.Healthy {
				causes[string(d.Reason.Cause)]++
			}
		}
		for cause, n := range causes {
			out.gauge(descPoolUnhealthy, float64(n), pool.ResourceName, cause)
		}
	}
	for i := range p.plugin {
		out.counter(descPoolRegistrations, float64(p.plugin[i].Registrations), p.plugin[i].Resource)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// listenProblem is what the status reports of metrics that cannot be served.
func listenProblem(err error) status.Problem {
	return status.Problem{
		Msg:  fmt.Sprintf("the metrics are not served: %v", err),
		Hint: fmt.Sprintf("free the address, or write another one as metrics.listen; it is tried again every %s", metrics.Retry),
	}
}
