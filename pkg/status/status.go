package status

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"time"

	"github.com/google/renameio/v2"
	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/plan"
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
	// CNI is nil as long as no document says whether the plugin is wanted.
	CNI *CNI `yaml:"cni,omitempty" json:"cni,omitempty"`
	// Orphans is nil as long as no pod died without giving its VF back.
	Orphans *Orphans `yaml:"orphans,omitempty" json:"orphans,omitempty"`
	// Problems belong to no PF. Notices are worth knowing and not wrong.
	Problems []plan.Problem `yaml:"problems,omitempty" json:"problems,omitempty"`
	Notices  []plan.Problem `yaml:"notices,omitempty" json:"notices,omitempty"`
}

// Daemon identifies the process that wrote the file.
type Daemon struct {
	Version string    `yaml:"version" json:"version"`
	PID     int       `yaml:"pid" json:"pid"`
	Started time.Time `yaml:"started" json:"started"`
	BootID  string    `yaml:"bootID" json:"bootID"`
	// Writes is how many times this process has asked the kernel to change
	// something, successful or not: 0 for a start on a machine that is as its
	// document says.
	Writes int64 `yaml:"writes" json:"writes"`
}

// CNI is the installation of the CNI plugin.
type CNI struct {
	// Install is what the document asks for: true, false or force.
	Install string `yaml:"install" json:"install"`
	// State and Owner are those of package install.
	State string `yaml:"state" json:"state"`
	Owner string `yaml:"owner" json:"owner"`
	Path  string `yaml:"path" json:"path"`
	// Version of the program at Path, "" when it is not ours.
	Version string `yaml:"version,omitempty" json:"version,omitempty"`
	// Reason says why it is not as asked, Hint what to do.
	Reason string `yaml:"reason,omitempty" json:"reason,omitempty"`
	Hint   string `yaml:"hint,omitempty" json:"hint,omitempty"`
}

// Orphans are interfaces of pods that are gone and whose DEL did not come.
type Orphans struct {
	// Returned is how many were taken back since the daemon started.
	Returned int      `yaml:"returned" json:"returned"`
	Pending  []Orphan `yaml:"pending,omitempty" json:"pending,omitempty"`
}

// Orphan is one that was not taken back yet.
type Orphan struct {
	Device string `yaml:"device" json:"device"`
	// Attachment is SANDBOX-INTERFACE, "" when only an allocation is left.
	Attachment string `yaml:"attachment,omitempty" json:"attachment,omitempty"`
	// Evidence is netns, boot or allocation; see package cni.
	Evidence string    `yaml:"evidence" json:"evidence"`
	Since    time.Time `yaml:"since" json:"since"`
	Reason   string    `yaml:"reason" json:"reason"`
}

// SpecState says what became of the newest document.
type SpecState string

const (
	// SpecUnknown: it is not known yet whether there is a document.
	SpecUnknown SpecState = "unknown"
	// SpecAbsent: there is no document; the node is not configured.
	SpecAbsent SpecState = "absent"
	// SpecAccepted: the newest document is in force.
	SpecAccepted SpecState = "accepted"
	// SpecPartly: the newest document is in force, except on the PFs whose
	// problems say that it cannot be had there; these keep what they had.
	SpecPartly SpecState = "partly-accepted"
	// SpecRefused: the newest document is bad; the last good one, if there is
	// one, stays in force.
	SpecRefused SpecState = "refused"
)

// Spec is the document in force and the newest one, which may differ.
type Spec struct {
	State SpecState `yaml:"state" json:"state"`
	// Source is the file of the newest document, Hash the SHA-256 of its bytes.
	Source string `yaml:"source,omitempty" json:"source,omitempty"`
	Hash   string `yaml:"hash,omitempty" json:"hash,omitempty"`
	// InForce is the hash of the document that the node follows, "" for none.
	InForce string `yaml:"inForce,omitempty" json:"inForce,omitempty"`
	// LastGood is true when InForce came from the copy kept in the state folder.
	LastGood bool    `yaml:"lastGood,omitempty" json:"lastGood,omitempty"`
	Errors   []Error `yaml:"errors,omitempty" json:"errors,omitempty"`
	Warnings []Error `yaml:"warnings,omitempty" json:"warnings,omitempty"`
}

// Error is an error in the document.
type Error struct {
	Pos  spec.Pos `yaml:"pos" json:"pos"`
	Path string   `yaml:"path,omitempty" json:"path,omitempty"`
	Msg  string   `yaml:"msg" json:"msg"`
	Hint string   `yaml:"hint,omitempty" json:"hint,omitempty"`
}

// PFState is a PF in one word.
type PFState string

const (
	PFReady   PFState = "ready"   // as the document says
	PFPending PFState = "pending" // waits for the machine (a driver, an address, evidence)
	PFWaiting PFState = "waiting" // waits for pods
	PFFailed  PFState = "failed"  // something is wrong, see problems
)

// PF is one physical function that the document selects, or that is still to
// be reset because it left the document.
type PF struct {
	Address string          `yaml:"address" json:"address"`
	Name    string          `yaml:"name" json:"name"`
	Driver  string          `yaml:"driver,omitempty" json:"driver,omitempty"`
	State   PFState         `yaml:"state" json:"state"`
	Entry   spec.Pos        `yaml:"entry" json:"entry"`
	Desired Desired         `yaml:"desired" json:"desired"`
	Actual  Actual          `yaml:"actual" json:"actual"`
	Steps   []plan.StepText `yaml:"steps,omitempty" json:"steps,omitempty"`
	Errors  []plan.Problem  `yaml:"problems,omitempty" json:"problems,omitempty"`
	Notices []plan.Problem  `yaml:"notices,omitempty" json:"notices,omitempty"`
	// Drift is how often, since the daemon started, the PF was found changed
	// although its document was not.
	Drift int `yaml:"drift,omitempty" json:"drift,omitempty"`
}

// Desired is what the document asks of a PF as a whole.
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

// Pool is one resource.
type Pool struct {
	ResourceName string `yaml:"resourceName" json:"resourceName"`
	Devices      int    `yaml:"devices" json:"devices"`
	Healthy      int    `yaml:"healthy" json:"healthy"`
	Registered   bool   `yaml:"registered" json:"registered"`
	Error        string `yaml:"error,omitempty" json:"error,omitempty"`
	// Notices are worth knowing and not wrong.
	Notices []string `yaml:"notices,omitempty" json:"notices,omitempty"`
	Members []Device `yaml:"members,omitempty" json:"members,omitempty"`
}

// Device is one device of a pool.
type Device struct {
	ID      string `yaml:"id" json:"id"`
	Healthy bool   `yaml:"healthy" json:"healthy"`
	Reason  string `yaml:"reason,omitempty" json:"reason,omitempty"`
	// Cause is the reason in one word, of a fixed few (docs/operations.md).
	Cause string `yaml:"cause,omitempty" json:"cause,omitempty"`
	// Use is UseFree, UseHeld or UseUnknown; "" in files of daemons that did not
	// write it, and then a device without Holder may be free or not.
	Use string `yaml:"use,omitempty" json:"use,omitempty"`
	// Holder says in words who has the device ("pod default/web-0"), or what it is
	// that is not known; "" when it is free.
	Holder string `yaml:"holder,omitempty" json:"holder,omitempty"`
}

// Values of [Device.Use].
const (
	UseFree    = "free"
	UseHeld    = "held"
	UseUnknown = "unknown" // counts as in use
)

// InUse is what d says of its use, with files of older daemons taken into account:
// whatever is not known to be free or held is unknown.
func (d *Device) InUse() string {
	switch {
	case d.Use == UseFree && d.Holder == "":
		return UseFree
	case d.Use == UseHeld, d.Use == "" && d.Holder != "":
		return UseHeld
	}
	return UseUnknown
}

// Write replaces the file at path. The old content stays readable until the new
// one is whole.
func Write(path string, s *Status) error {
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(s); err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	if err := enc.Close(); err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	if err := renameio.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write status %s: %w", path, err)
	}
	return nil
}

// Read reads a status file. A file that is not there is (nil, nil).
func Read(path string) (*Status, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	var s Status
	if err := yaml.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("decode status %s: %w", path, err)
	}
	if s.Kind != Kind {
		return nil, fmt.Errorf("%s holds a document of kind %q, not %s", path, s.Kind, Kind)
	}
	return &s, nil
}

// Same reports whether two statuses say the same, whenever they were written.
func Same(a, b *Status) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Updated, y.Updated = time.Time{}, time.Time{}
	return reflect.DeepEqual(&x, &y)
}
