package cni

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	cni100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
)

// fakeIPAM gives one address; m.fail may refuse "ipam-add" and "ipam-del".
type fakeIPAM struct {
	m       *model
	empty   bool
	held    int
	hook    func() // runs during DEL
	missing error  // the program is not there
	// status is the answer to STATUS.
	status error
}

func (f *fakeIPAM) Find(string) error { return f.missing }

func (f *fakeIPAM) Add(context.Context, string, []byte) (types.Result, error) {
	if f.missing != nil {
		return nil, f.missing
	}
	r := &cni100.Result{CNIVersion: "1.0.0"}
	err := f.m.do("ipam-add", func() error {
		if !f.empty {
			r.IPs = []*cni100.IPConfig{{Address: net.IPNet{IP: net.IPv4(10, 100, 0, 2), Mask: net.CIDRMask(24, 32)}, Gateway: net.IPv4(10, 100, 0, 1)}}
			r.Routes = []*types.Route{{Dst: net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}}}
		}
		f.held++
		return nil
	})
	return r, err
}

func (f *fakeIPAM) Run(_ context.Context, command, _ string, _ []byte) error {
	switch command {
	case "DEL":
		return f.del()
	case "STATUS":
		return f.status
	}
	return nil
}

func (f *fakeIPAM) del() error {
	if f.missing != nil {
		return f.missing
	}
	return f.m.do("ipam-del", func() error {
		f.held = 0
		if f.hook != nil {
			f.hook()
		}
		return nil
	})
}

type rig struct {
	*Plugin
	m    *model
	ipam *fakeIPAM
}

// The places of sriov-cni's files.
func (r *rig) cachePath(name string) string      { return filepath.Join(r.Dir, name) }
func (r *rig) allocationPath(addr string) string { return filepath.Join(r.Dir, "pci", addr) }
func (r *rig) lockPath(addr string) string {
	return filepath.Join(r.Dir, "pci", "vf_lock", addr+".lock")
}

// draftPath is the file by way of which one of these is written.
func draftPath(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
}

// at is a start of the machine.
func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func newRig(t *testing.T, vfs int) *rig {
	t.Helper()
	return newRigIn(t.TempDir(), vfs)
}

func newRigIn(dir string, vfs int) *rig {
	m := newModel(vfs)
	ipam := &fakeIPAM{m: m}
	return &rig{m: m, ipam: ipam, Plugin: &Plugin{
		Dir: dir, Sysfs: m, Kernel: m, IPAM: ipam, Log: slog.New(slog.DiscardHandler), Boot: attachment.BootInfo{ID: "boot-1", Since: at(time.Unix(1, 0))},
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}}
}

func cmd(container, netns, conf string) *skel.CmdArgs {
	return &skel.CmdArgs{ContainerID: container, Netns: netns, IfName: "net1", StdinData: []byte(conf)}
}

// conf is a configuration for VF i with more keys.
func conf(i int, more string) string {
	if more != "" {
		more = "," + more
	}
	return fmt.Sprintf(`{"cniVersion":"1.1.0","name":"net","type":"sriov","deviceID":%q%s}`, vfAddr(i), more)
}

var errInjected = errors.New("injected")
