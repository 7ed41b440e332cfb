package holder

import (
	"fmt"
	"strings"
)

// Evidence is how a holder is known; package use has its values.
type Evidence string

// Holder is who has a device, or, of a device whose use is not known, what did not
// answer. Namespace and Pod are "" when no pod is known.
type Holder struct {
	Device    string `json:"device" yaml:"device"` // PCI address, or a subfunction's name
	Namespace string `json:"namespace,omitempty" yaml:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty" yaml:"pod,omitempty"`
	Container string `json:"container,omitempty" yaml:"container,omitempty"`
	// Resource is the resource name under which it has the device, "" when that is not
	// known. The kubelet keeps its accounts by resource name.
	Resource string `json:"resource,omitempty" yaml:"resource,omitempty"`
	// Evidence is the kind of evidence, Text what was seen, for the person who waits.
	Evidence Evidence `json:"source" yaml:"source"`
	Text     string   `json:"evidence,omitempty" yaml:"evidence,omitempty"`
}

// String names the holder as people do: `pod ns/name`, or what was seen when no
// pod is known.
func (h Holder) String() string {
	switch {
	case h.Pod != "":
		return "pod " + h.Namespace + "/" + h.Pod
	case h.Text != "":
		return h.Text
	}
	return fmt.Sprintf("an unknown holder of %s (%s)", h.Device, h.Evidence)
}

// Elsewhere reports whether the device is held under another resource name than this
// one: the kubelet, which keeps its accounts by resource name, takes it for free here.
func (h Holder) Elsewhere(resource string) bool { return h.Resource != "" && h.Resource != resource }

// Names joins the holders for a message, each once, in order.
func Names(holders []Holder) string {
	var out []string
	seen := make(map[string]bool, len(holders))
	for _, h := range holders {
		if n := h.String(); !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	return strings.Join(out, ", ")
}
