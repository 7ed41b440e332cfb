package nl

import (
	"context"
	"fmt"

	"github.com/safchain/ethtool"
	"golang.org/x/sys/unix"
)

const featureTCOffload = "hw-tc-offload"

// TCOffload reports whether the interface offloads tc rules, which switchdev
// mode is of no use without. It acts in the process' own network namespace.
func (h *Handle) TCOffload(ctx context.Context, ifname string) (bool, error) {
	const op = "read " + featureTCOffload
	var on bool
	err := withEthtool(ctx, func(e *ethtool.Ethtool) error {
		var err error
		on, err = tcOffload(e, ifname)
		return err
	})
	return on, wrap(err, op, ifname, "")
}

// SetTCOffload switches it. A driver may accept the request and not follow it,
// so the result is read back.
func (h *Handle) SetTCOffload(ctx context.Context, ifname string, on bool) error {
	const op = "set " + featureTCOffload
	err := withEthtool(ctx, func(e *ethtool.Ethtool) error {
		if _, err := tcOffload(e, ifname); err != nil {
			return err
		}
		if err := e.Change(ifname, map[string]bool{featureTCOffload: on}); err != nil {
			return err
		}
		now, err := tcOffload(e, ifname)
		if err == nil && now != on {
			err = fmt.Errorf("the driver accepted it and left it as it was: %w", unix.EOPNOTSUPP)
		}
		return err
	})
	return wrap(err, op, ifname, onOff(on))
}

func tcOffload(e *ethtool.Ethtool, ifname string) (on bool, err error) {
	features, err := e.Features(ifname)
	if err != nil {
		return false, err
	}
	on, ok := features[featureTCOffload]
	if !ok {
		return false, fmt.Errorf("the driver does not know it: %w", unix.EOPNOTSUPP)
	}
	return on, nil
}

func withEthtool(ctx context.Context, f func(*ethtool.Ethtool) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("open ethtool: %w", err)
	}
	defer e.Close()
	return f(e)
}
