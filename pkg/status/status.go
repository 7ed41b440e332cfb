package status

import (
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/install/outcome"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// Identification of the file.
const (
	APIVersion = "v1alpha1"
	Kind       = "SRIOVStatus"
)

// Status is the whole file.
type Status struct {
	APIVersion string `yaml:"apiVersion" json:"apiVersion"`
	Kind       string `yaml:"kind" json:"kind"`
	// Updated is when anything below last changed.
	Updated time.Time `yaml:"updated" json:"updated"`
	Daemon  Daemon    `yaml:"daemon" json:"daemon"`
	Spec    Spec      `yaml:"spec" json:"spec"`
	PFs     []PF      `yaml:"pfs,omitempty" json:"pfs,omitempty"`
	Pools   []Pool    `yaml:"pools,omitempty" json:"pools,omitempty"`
	// RDMANetns is "shared" or "exclusive", "" without RDMA devices: whether every
	// network namespace has all of them, or each is in one.
	RDMANetns string `yaml:"rdmaNetns,omitempty" json:"rdmaNetns,omitempty"`
	// CNI is nil as long as no config says whether the plugin is wanted.
	CNI *CNI `yaml:"cni,omitempty" json:"cni,omitempty"`
	// Orphans is nil as long as no pod died without giving its VF back.
	Orphans *Orphans `yaml:"orphans,omitempty" json:"orphans,omitempty"`
	// Problems belong to no PF. Notices are worth knowing and not wrong.
	Problems []Problem `yaml:"problems,omitempty" json:"problems,omitempty"`
	Notices  []Problem `yaml:"notices,omitempty" json:"notices,omitempty"`
}

// Daemon identifies the process that wrote the file.
type Daemon struct {
	Version string    `yaml:"version" json:"version"`
	PID     int       `yaml:"pid" json:"pid"`
	Started time.Time `yaml:"started" json:"started"`
	BootID  string    `yaml:"bootID" json:"bootID"`
	// Writes is how many times this process has asked the kernel to change
	// something, successful or not: 0 for a start on a machine that is as its
	// config says.
	Writes int64 `yaml:"writes" json:"writes"`
}

// CNI is the installation of the CNI plugin.
type CNI = outcome.CNI

// Orphans are interfaces of pods that are gone and whose DEL did not come.
type Orphans struct {
	// Returned is how many were reclaimed since the daemon started.
	Returned int      `yaml:"returned" json:"returned"`
	Pending  []Orphan `yaml:"pending,omitempty" json:"pending,omitempty"`
}

// Orphan is one that was not reclaimed yet.
type Orphan struct {
	Device string `yaml:"device" json:"device"`
	// Attachment is SANDBOX-INTERFACE, "" when only an allocation is left.
	Attachment string `yaml:"attachment,omitempty" json:"attachment,omitempty"`
	// Evidence is netns, boot or allocation; see package cni.
	Evidence string    `yaml:"evidence" json:"evidence"`
	Since    time.Time `yaml:"since" json:"since"`
	Reason   string    `yaml:"reason" json:"reason"`
}

// SpecState is what became of the newest config.
type SpecState string

const (
	// SpecUnknown: it is not known yet whether there is a config.
	SpecUnknown SpecState = "unknown"
	// SpecAbsent: there is no config; the node is not configured.
	SpecAbsent SpecState = "absent"
	// SpecAccepted: the newest config is in force.
	SpecAccepted SpecState = "accepted"
	// SpecPartly: the newest config is in force, except on the PFs whose problems
	// say that it is not supported there; these keep what they had.
	SpecPartly SpecState = "partly-accepted"
	// SpecRefused: the newest config is bad; the last good one, if there is one,
	// stays in force.
	SpecRefused SpecState = "refused"
)

// Spec is the config in force and the newest one, which may differ.
type Spec struct {
	State SpecState `yaml:"state" json:"state"`
	// Source is the file of the newest config, Hash the SHA-256 of its bytes.
	Source string `yaml:"source,omitempty" json:"source,omitempty"`
	Hash   string `yaml:"hash,omitempty" json:"hash,omitempty"`
	// InForce is the hash of the config that the node follows, "" for none.
	InForce string `yaml:"inForce,omitempty" json:"inForce,omitempty"`
	// LastGood is true when InForce came from the copy in the state directory.
	LastGood bool         `yaml:"lastGood,omitempty" json:"lastGood,omitempty"`
	Errors   []spec.Error `yaml:"errors,omitempty" json:"errors,omitempty"`
	Warnings []spec.Error `yaml:"warnings,omitempty" json:"warnings,omitempty"`
}

// PFState is how a PF is.
type PFState string

const (
	PFReady   PFState = "ready"   // as the config says
	PFPending PFState = "pending" // waits for the machine (a driver, an address, evidence)
	PFWaiting PFState = "waiting" // waits for pods
	PFFailed  PFState = "failed"  // something is wrong, see problems
)

// PF is one physical function that the config selects, or that is still to be
// reset because it left the config.
type PF struct {
	Address string    `yaml:"address" json:"address"`
	Name    string    `yaml:"name" json:"name"`
	Driver  string    `yaml:"driver,omitempty" json:"driver,omitempty"`
	State   PFState   `yaml:"state" json:"state"`
	Entry   spec.Pos  `yaml:"entry" json:"entry"`
	Desired Desired   `yaml:"desired" json:"desired"`
	Actual  Actual    `yaml:"actual" json:"actual"`
	Steps   []Step    `yaml:"steps,omitempty" json:"steps,omitempty"`
	Errors  []Problem `yaml:"problems,omitempty" json:"problems,omitempty"`
	Notices []Problem `yaml:"notices,omitempty" json:"notices,omitempty"`
	// Drift is how often, since the daemon started, the PF was found changed
	// although its config was not.
	Drift int `yaml:"drift,omitempty" json:"drift,omitempty"`
}

// Desired is what the config asks of a PF as a whole.
type Desired struct {
	NumVFs      *int   `yaml:"numVFs,omitempty" json:"numVFs,omitempty"`
	MTU         *int   `yaml:"mtu,omitempty" json:"mtu,omitempty"`
	EswitchMode string `yaml:"eswitchMode,omitempty" json:"eswitchMode,omitempty"`
}

// Actual is what was found on the PF.
type Actual struct {
	NumVFs      int    `yaml:"numVFs" json:"numVFs"`
	TotalVFs    int    `yaml:"totalVFs" json:"totalVFs"`
	MTU         int    `yaml:"mtu,omitempty" json:"mtu,omitempty"`
	EswitchMode string `yaml:"eswitchMode,omitempty" json:"eswitchMode,omitempty"`
	Carrier     bool   `yaml:"carrier" json:"carrier"`
	// Representors are the interfaces on the host that stand for the VFs in
	// switchdev mode, by VF index.
	Representors map[int]string `yaml:"representors,omitempty" json:"representors,omitempty"`
}

// Healthy reports whether nothing in s is wrong. What is pending or waits is not
// wrong.
func (s *Status) Healthy() bool {
	if s.Spec.State == SpecRefused || s.Spec.State == SpecPartly || len(s.Problems) > 0 {
		return false
	}
	if s.CNI != nil && s.CNI.State == outcome.Failed {
		return false
	}
	return !slices.ContainsFunc(s.PFs, func(pf PF) bool { return pf.State == PFFailed }) &&
		!slices.ContainsFunc(s.Pools, func(p Pool) bool { return p.Error != "" })
}
