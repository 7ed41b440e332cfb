package readmission

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"time"
)

// line is what is read of a line of the kubelet's log, which is in JSON.
type line struct {
	TS           float64 `json:"ts"` // milliseconds, with a fraction
	Msg          string  `json:"msg"`
	Resource     string  `json:"resource"`
	ResourceName string  `json:"resourceName"`
	Plugin       string  `json:"plugin"`
}

func (l line) time() time.Time { return time.UnixMicro(int64(math.Round(l.TS * 1000))) }

// begun are the moments of a kubelet's start; one that did not come is zero.
type begun struct {
	first  time.Time // line of its log
	socket time.Time // it opens its socket for registrations
	heard  time.Time // it knows of our socket
	listed time.Time // it has our first list of devices
	asked  time.Time // it looks for the first time whether a pod can have its devices
}

// errNotYet is a moment that the log does not have.
var errNotYet = errors.New("it is not in the kubelet's log")

// readLog reads the moments from a kubelet's log. What the messages stand for is in
// k8s.io/kubernetes/pkg/kubelet/cm/devicemanager: "State pushed" comes right before the
// devices are taken over, and "Need devices" right before it is looked for them.
func readLog(path string) (begun, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return begun{}, err
	}
	var b begun
	for raw := range bytes.Lines(text) {
		var l line
		if json.Unmarshal(raw, &l) != nil || l.TS == 0 {
			continue // a stack trace, or a line that is being written
		}
		var to *time.Time
		switch {
		case l.Msg == "Starting device plugin registration server":
			to = &b.socket
		case l.Msg == "Got registration request from device plugin with resource" && l.ResourceName == resource,
			l.Msg == "Got plugin at endpoint with versions" && l.Plugin == resource:
			to = &b.heard
		case l.Msg == "State pushed for device plugin" && l.Resource == resource:
			to = &b.listed
		case l.Msg == "Need devices to allocate for pod" && l.ResourceName == resource:
			to = &b.asked
		}
		if b.first.IsZero() {
			b.first = l.time()
		}
		if to != nil && to.IsZero() {
			*to = l.time()
		}
	}
	for _, moment := range []struct {
		what string
		time time.Time
	}{{"registration server", b.socket}, {"registration", b.heard}, {"list of devices", b.listed}, {"allocation", b.asked}} {
		if moment.time.IsZero() {
			return b, fmt.Errorf("the first %s: %w", moment.what, errNotYet)
		}
	}
	return b, nil
}

// margin is how long before the first allocation the kubelet had the devices.
func (b begun) margin() time.Duration { return b.asked.Sub(b.listed) }
