package cni

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// Funcs are the commands for the CNI library's dispatcher. open makes the
// plugin for one command and returns how to end it.
func Funcs(ctx context.Context, open func(*skel.CmdArgs) (*Plugin, func() error, error), stdout io.Writer) skel.CNIFuncs {
	wrap := func(run func(*Plugin, *skel.CmdArgs) error) func(*skel.CmdArgs) error {
		return func(args *skel.CmdArgs) error {
			p, done, err := open(args)
			if err != nil {
				return fault.AsCNI(err)
			}
			if err = run(p, args); err != nil {
				p.Log.Error("command failed", "err", err)
			}
			if cerr := done(); err == nil && cerr != nil {
				err = fmt.Errorf("close: %w", cerr)
			}
			if err != nil {
				return fault.AsCNI(err)
			}
			return nil
		}
	}
	return skel.CNIFuncs{
		Add: wrap(func(p *Plugin, args *skel.CmdArgs) error {
			result, err := p.Add(ctx, args)
			if err != nil {
				return err
			}
			// What the runtime never reads it answers with DEL.
			return result.PrintTo(stdout)
		}),
		Del:    wrap(func(p *Plugin, args *skel.CmdArgs) error { return p.Del(ctx, args) }),
		Check:  wrap(func(p *Plugin, args *skel.CmdArgs) error { return p.Check(ctx, args) }),
		GC:     wrap(func(p *Plugin, args *skel.CmdArgs) error { return p.GC(ctx, args) }),
		Status: wrap(func(p *Plugin, args *skel.CmdArgs) error { return p.Status(ctx, args) }),
	}
}

// OpenHost makes the plugin for this machine.
func OpenHost(ipam IPAM, stderr io.Writer) func(*skel.CmdArgs) (*Plugin, func() error, error) {
	return func(args *skel.CmdArgs) (*Plugin, func() error, error) {
		boot, err := attachment.Boot("/run")
		if err != nil {
			return nil, nil, err
		}
		fs, err := sysfs.Open("/sys")
		if err != nil {
			return nil, nil, fault.Wrapf(err, types.ErrIOFailure, "", "open sysfs")
		}
		log, closeLog := OpenLog(stderr, DefaultLogDir, args)
		p := &Plugin{
			Dir: attachment.DefaultDir, Sysfs: fs, Kernel: HostKernel(), IPAM: ipam,
			Boot: boot, Log: log, Kubelet: DefaultKubelet,
		}
		return p, func() error { return errors.Join(closeLog(), fs.Close()) }, nil
	}
}
