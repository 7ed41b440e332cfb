package inventory

import (
	"context"
	"errors"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// Network is what netlink, devlink and ethtool know and sysfs does not, or give more
// cheaply. *nl.Handle is one. A question fails with nl.ErrUnsupported where driver or
// kernel have no such thing, which is an answer, and with [Unanswerable] where the
// implementation cannot ask it, which costs the snapshot a note.
type Network interface {
	Links(ctx context.Context) ([]nl.Link, error)
	Addrs(ctx context.Context) ([]nl.Addr, error)
	DefaultRoutes(ctx context.Context) ([]nl.Route, error)
	// VFs is what the PF holds for its VFs.
	VFs(ctx context.Context, pf nl.LinkRef) ([]nl.VFInfo, error)
	EswitchMode(ctx context.Context, bus, dev string) (string, error)
	DevlinkInfo(ctx context.Context, bus, dev string) (map[string]string, error)
	// TCOffload reports whether the interface offloads tc rules.
	TCOffload(ctx context.Context, ifname string) (bool, error)
	RDMANetnsMode(ctx context.Context) (nl.RDMANetnsMode, error)
}

// Unanswerable is the error of a [Network] that has no way to ask a question, of
// whichever device.
type Unanswerable struct {
	Source string // what was to answer: "the Talos API"
}

func (e *Unanswerable) Error() string { return e.Source + " does not show it" }

// wholeNetwork is the device of the notes that are about no single one; each of them
// is there once.
const wholeNetwork = "network"

// unanswered records why the network gave no answer about the device, when that is
// not an answer itself.
func (r *reader) unanswered(device, what string, err error) {
	r.lane.answered()
	var source *Unanswerable
	switch {
	case err == nil, errors.Is(err, nl.ErrUnsupported):
	case errors.As(err, &source):
		r.note(wholeNetwork, what, source)
	default:
		r.note(device, what, err)
	}
}
