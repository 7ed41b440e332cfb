package status

import (
	"encoding/json"

	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/use/holder"
)

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
	ID      string
	Healthy bool
	// Reason is why it is not healthy.
	Reason Reason
	// Use is whether somebody has it; see [Device.InUse].
	Use Use
	// Holders are who has it, or, when that is not known, what did not answer.
	Holders []Holder
}

// Reason is why a device cannot be allocated.
type Reason struct {
	// Cause is one of a fixed few (docs/operations.md); package pool has them.
	Cause string
	// Text is for people.
	Text string
}

// Use is whether somebody has a device.
type Use string

const (
	UseFree    Use = "free"
	UseHeld    Use = "held"
	UseUnknown Use = "unknown" // counts as in use
)

// InUse is the use of d as a reader may rely on it: whatever is not known to be
// free or held is unknown. A daemon that wrote no use wrote who has the device.
func (d *Device) InUse() Use {
	switch {
	case d.Use == UseFree && len(d.Holders) == 0:
		return UseFree
	case d.Use == UseHeld, d.Use == "" && len(d.Holders) > 0:
		return UseHeld
	}
	return UseUnknown
}

// deviceFile is a Device as the file has it.
type deviceFile struct {
	ID      string `yaml:"id" json:"id"`
	Healthy bool   `yaml:"healthy" json:"healthy"`
	Reason  string `yaml:"reason,omitempty" json:"reason,omitempty"`
	Cause   string `yaml:"cause,omitempty" json:"cause,omitempty"`
	Use     Use    `yaml:"use,omitempty" json:"use,omitempty"`
	// Holder is the holders in one text, for readers that know no other: to them a
	// device without it may be free.
	Holder  string   `yaml:"holder,omitempty" json:"holder,omitempty"`
	Holders []Holder `yaml:"holders,omitempty" json:"holders,omitempty"`
}

func (d Device) file() deviceFile { //nolint:gocritic // a marshaler of a value
	return deviceFile{
		ID: d.ID, Healthy: d.Healthy, Reason: d.Reason.Text, Cause: d.Reason.Cause,
		Use: d.Use, Holder: holder.Names(d.Holders), Holders: d.Holders,
	}
}

// MarshalYAML implements yaml.Marshaler.
func (d Device) MarshalYAML() (any, error) { return d.file(), nil } //nolint:gocritic // as above

// MarshalJSON implements json.Marshaler.
func (d Device) MarshalJSON() ([]byte, error) { return json.Marshal(d.file()) } //nolint:gocritic // as above

// UnmarshalYAML implements yaml.Unmarshaler.
func (d *Device) UnmarshalYAML(n *yaml.Node) error { return d.decode(n.Decode) }

// UnmarshalJSON implements json.Unmarshaler.
func (d *Device) UnmarshalJSON(data []byte) error {
	return d.decode(func(to any) error { return json.Unmarshal(data, to) })
}

func (d *Device) decode(into func(any) error) error {
	var f deviceFile
	if err := into(&f); err != nil {
		return err
	}
	*d = Device{
		ID: f.ID, Healthy: f.Healthy, Reason: Reason{Cause: f.Cause, Text: f.Reason}, Use: f.Use, Holders: f.Holders,
	}
	if len(f.Holders) == 0 && f.Holder != "" {
		// A daemon that knew no other way: the text may be several holders.
		d.Holders = []Holder{{Device: f.ID, Text: f.Holder}}
	}
	return nil
}
