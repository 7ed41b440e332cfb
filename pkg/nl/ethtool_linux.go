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
		features, err := e.Features(ifname)
		if err != nil {
			return err
		}
		v, ok := features[featureTCOffload]
		if !ok {
			return fmt.Errorf("the driver does not know it: %w", unix.EOPNOTSUPP)
		}
		on = v
		return nil
	})
	return on, wrap(err, op, ifname, "")
}

// SetTCOffload switches it. A driver may accept the request and not follow it,
// so the result is read back.
func (h *Handle) SetTCOffload(ctx context.Context, ifname string, on bool) error {
	const op = "set " + featureTCOffload
	err := withEthtool(ctx, func(e *ethtool.Ethtool) error {
		features, err := e.Features(ifname)
		if err != nil {
			return err
		}
		if _, ok := features[featureTCOffload]; !ok {
			return fmt.Errorf("the driver does not know it: %w", unix.EOPNOTSUPP)
		}
		if err := e.Change(ifname, map[string]bool{featureTCOffload: on}); err != nil {
			return err
		}
		if features, err = e.Features(ifname); err != nil {
			return err
		}
		if features[featureTCOffload] != on {
			return fmt.Errorf("the driver accepted it and left it as it was: %w", unix.EOPNOTSUPP)
		}
		return nil
	})
	return wrap(err, op, ifname, onOff(on))
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
