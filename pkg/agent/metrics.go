package agent

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

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
	last  atomic.Pointer[published]
	descs descs
	counts
}

// published is what the loop found last.
type published struct {
	status  *status.Status
	plugin  []deviceplugin.Status
	readErr error
}

func newCollector() *collector { return &collector{descs: newDescs()} }

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

// counts go up only. Whoever counts something new adds it here, and to descs.
type counts struct {
	mu         sync.Mutex
	reconciles int
	allocated  map[string]int     // devices, by resource
	writes     map[writeCount]int // by PF and result
}

type writeCount struct{ pf, result string }

// Results of a write.
const (
	writeOK      = "ok"
	writeRefused = "refused" // by the driver, and the config allows that
	writeFailed  = "failed"
)

func (c *counts) reconcile() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reconciles++
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

// health is nil while the loop runs and can read the machine. A bad config does not
// make the daemon unhealthy.
func (c *collector) health() error {
	p := c.last.Load()
	switch {
	case p == nil:
		return errors.New("the machine has not been read yet")
	case p.readErr != nil:
		return fmt.Errorf("the machine cannot be read: %w", p.readErr)
	}
	return nil
}

// descs are the metrics that there are, without those of the process.
type descs struct {
	buildInfo, specState, specLastGood                            *prometheus.Desc
	pfs, pfVFsWanted, pfVFs, pfProblems, pfDriftRepairs, problems *prometheus.Desc
	cniState, orphansReturned, orphansPending                     *prometheus.Desc
	poolDevices, poolUnhealthy, poolRegistered                    *prometheus.Desc
	poolRegistrations, poolAllocated                              *prometheus.Desc
	writes, reconciles                                            *prometheus.Desc
}

func newDescs() descs {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("sriov_"+name, help, labels, nil)
	}
	return descs{
		buildInfo:         desc("build_info", "Always 1; the version is a label.", "version"),
		specState:         desc("spec_state", "1 for the state of the newest config, 0 for the others.", "state"),
		specLastGood:      desc("spec_last_good", "1 while an older config is in force because the newest is refused."),
		pfs:               desc("pfs", "PFs that the config selects, by state.", "state"),
		pfVFsWanted:       desc("pf_vfs_wanted", "VFs that the config requests on the PF.", "pf", "name"),
		pfVFs:             desc("pf_vfs", "VFs that the PF has.", "pf", "name"),
		pfProblems:        desc("pf_problems", "Problems of the PF in the status.", "pf", "name"),
		pfDriftRepairs:    desc("pf_drift_repairs_total", "Repairs of the PF after a change by somebody else.", "pf", "name"),
		problems:          desc("problems", "Problems in the status that belong to no PF."),
		cniState:          desc("cni_plugin_state", "1 for the state of the CNI plugin's installation, 0 for the others.", "state"),
		orphansReturned:   desc("orphans_returned_total", "VFs reclaimed from pods that ended without the CNI plugin's DEL."),
		orphansPending:    desc("orphans_pending", "VFs of pods that are gone and that are not reclaimed yet."),
		poolDevices:       desc("pool_devices", "Devices of the pool, by whether they can be allocated.", "resource", "healthy"),
		poolUnhealthy:     desc("pool_unhealthy_devices", "Devices of the pool that cannot be allocated, by cause.", "resource", "cause"),
		poolRegistered:    desc("pool_registered", "1 while the kubelet knows the resource and has its device list stream open.", "resource"),
		poolRegistrations: desc("pool_registrations_total", "Successful registrations with the kubelet.", "resource"),
		poolAllocated:     desc("pool_allocated_devices_total", "Devices allocated to containers by the kubelet.", "resource"),
		writes:            desc("writes_total", "Writes to the kernel, by PF and result.", "pf", "result"),
		reconciles:        desc("reconciles_total", "Reconciles: the machine was read and the plan computed."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	d := &c.descs
	for _, desc := range []*prometheus.Desc{
		d.buildInfo, d.specState, d.specLastGood,
		d.pfs, d.pfVFsWanted, d.pfVFs, d.pfProblems, d.pfDriftRepairs, d.problems,
		d.cniState, d.orphansReturned, d.orphansPending,
		d.poolDevices, d.poolUnhealthy, d.poolRegistered, d.poolRegistrations, d.poolAllocated,
		d.writes, d.reconciles,
	} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	p := c.last.Load()
	if p == nil {
		p = &published{status: &status.Status{Spec: status.Spec{State: status.SpecUnknown}}}
	}
	out := samples{ch}
	c.collectConfig(out, p.status)
	c.collectPFs(out, p.status)
	c.collectCNI(out, p.status)
	c.collectPools(out, p)
	c.collectCounts(out, p.status)
}

// samples takes the values of metrics.
type samples struct{ ch chan<- prometheus.Metric }

func (s samples) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.add(d, prometheus.GaugeValue, v, labels)
}

func (s samples) counter(d *prometheus.Desc, v float64, labels ...string) {
	s.add(d, prometheus.CounterValue, v, labels)
}

// add sends one sample. The kernel lets an interface have a name that is no UTF-8,
// and a label must be.
func (s samples) add(d *prometheus.Desc, t prometheus.ValueType, v float64, labels []string) {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD")
	}
	m, err := prometheus.NewConstMetric(d, t, v, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	s.ch <- m
}

func (c *collector) collectConfig(out samples, s *status.Status) {
	out.gauge(c.descs.buildInfo, 1, s.Daemon.Version)
	for _, state := range []status.SpecState{status.SpecUnknown, status.SpecAbsent, status.SpecAccepted, status.SpecPartly, status.SpecRefused} {
		out.gauge(c.descs.specState, number(s.Spec.State == state), string(state))
	}
	out.gauge(c.descs.specLastGood, number(s.Spec.LastGood))
}

func (c *collector) collectPFs(out samples, s *status.Status) {
	for _, state := range []status.PFState{status.PFReady, status.PFPending, status.PFWaiting, status.PFFailed} {
		n := 0
		for i := range s.PFs {
			n += int(number(s.PFs[i].State == state))
		}
		out.gauge(c.descs.pfs, float64(n), string(state))
	}
	for i := range s.PFs {
		f := &s.PFs[i]
		if f.Desired.NumVFs != nil {
			out.gauge(c.descs.pfVFsWanted, float64(*f.Desired.NumVFs), f.Address, f.Name)
		}
		out.gauge(c.descs.pfVFs, float64(f.Actual.NumVFs), f.Address, f.Name)
		out.gauge(c.descs.pfProblems, float64(len(f.Errors)), f.Address, f.Name)
		out.counter(c.descs.pfDriftRepairs, float64(f.Drift), f.Address, f.Name)
	}
	out.gauge(c.descs.problems, float64(len(s.Problems)))
}

func (c *collector) collectCNI(out samples, s *status.Status) {
	if s.CNI != nil {
		for _, state := range outcome.States() {
			out.gauge(c.descs.cniState, number(s.CNI.State == state), string(state))
		}
	}
	var orphans status.Orphans
	if s.Orphans != nil {
		orphans = *s.Orphans
	}
	out.counter(c.descs.orphansReturned, float64(orphans.Returned))
	out.gauge(c.descs.orphansPending, float64(len(orphans.Pending)))
}

func (c *collector) collectPools(out samples, p *published) {
	for i := range p.status.Pools {
		pool := &p.status.Pools[i]
		out.gauge(c.descs.poolDevices, float64(pool.Healthy), pool.ResourceName, "true")
		out.gauge(c.descs.poolDevices, float64(pool.Devices-pool.Healthy), pool.ResourceName, "false")
		out.gauge(c.descs.poolRegistered, number(pool.Registered), pool.ResourceName)
		causes := map[string]int{}
		for j := range pool.Members {
			if d := &pool.Members[j]; !d.Healthy {
				causes[string(d.Reason.Cause)]++
			}
		}
		for cause, n := range causes {
			out.gauge(c.descs.poolUnhealthy, float64(n), pool.ResourceName, cause)
		}
	}
	for i := range p.plugin {
		out.counter(c.descs.poolRegistrations, float64(p.plugin[i].Registrations), p.plugin[i].Resource)
	}
}

func (c *collector) collectCounts(out samples, s *status.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range s.Pools {
		name := s.Pools[i].ResourceName
		out.counter(c.descs.poolAllocated, float64(c.allocated[name]), name)
	}
	for w, n := range c.writes {
		out.counter(c.descs.writes, float64(n), w.pf, w.result)
	}
	out.counter(c.descs.reconciles, float64(c.reconciles))
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
