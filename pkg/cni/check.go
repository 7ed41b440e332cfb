package cni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	cni100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/cni/netconf"
	"github.com/talos-sriov/talos-sriov/pkg/cni/vf"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// Check compares the attachment with the machine and names every difference.
func (p *Plugin) Check(ctx context.Context, args *skel.CmdArgs) error {
	conf, err := netconf.Decode(args.StdinData)
	if err != nil {
		return err
	}
	now, err := p.look(ctx, args, conf)
	if err != nil {
		return err
	}
	if diffs := now.differences(); len(diffs) > 0 {
		return fault.Newf(fault.CodeCheck, checkHint, "not as it was attached: %s", strings.Join(texts(diffs), "; "))
	}
	return p.ipam(ctx, "CHECK", conf.IPAM.Type, args.StdinData)
}

const checkHint = "delete the pod; its controller will make a new one"

// difference is something that is not as it was attached.
type difference struct{ what, want, found string }

func (d difference) String() string { return fmt.Sprintf("%s is %s, not %s", d.what, d.found, d.want) }

func texts(diffs []difference) []string {
	out := make([]string, 0, len(diffs))
	for _, d := range diffs {
		out = append(out, d.String())
	}
	return out
}

// checked is an attachment, and the machine as it was read for it.
type checked struct {
	args   *skel.CmdArgs
	att    *attachment.Attachment
	stale  bool // of an earlier run of the machine
	owner  string
	cur    nl.VFInfo // what the PF holds for the VF
	known  bool      // cur is knowledge
	driven bool      // by a program: there is no interface
	inPod
}

// inPod is what there is of an attachment in the pod.
type inPod struct {
	link  *nl.Link       // nil when it is missing; then the rest was not read
	rdma  []nl.RDMADev   // when one is to be there
	prev  *cni100.Result // of ADD; nil when the runtime does not have it
	addrs []nl.Addr      // when there is such a result
}

// look reads; the error is why nothing can be compared.
func (p *Plugin) look(ctx context.Context, args *skel.CmdArgs, conf *netconf.NetConf) (checked, error) {
	a, err := p.store().Load(attachment.Name(args.ContainerID, args.IfName))
	if err != nil {
		return checked{}, fault.Wrapf(err, types.ErrIOFailure, "", "read cache")
	}
	if a == nil || !a.HasDevice() {
		return checked{}, fault.Newf(fault.CodeCheck, checkHint, "no attachment of container %s with interface %s is known", args.ContainerID, args.IfName)
	}
	pod, err := p.openPod(args)
	if err != nil {
		return checked{}, err
	}
	defer pod.Close()
	c := checked{args: args, att: a, stale: a.Stale(p.Boot)}
	if c.owner, err = p.store().Owner(a.DeviceID); err != nil {
		c.owner = "not known (" + err.Error() + ")"
	}
	v, err := vf.Find(p.Sysfs, a.DeviceID)
	if err != nil {
		return checked{}, err
	}
	if c.cur, c.known, err = vf.Info(ctx, p.Kernel.Host(), v); err != nil {
		return checked{}, fault.Wrapf(err, fault.CodeReadVF, "", "VF %s", v.Address)
	}
	if c.driven = v.Userspace(); !c.driven {
		c.inPod, err = lookInPod(ctx, pod, a, args.IfName, conf)
	}
	return c, err
}

func lookInPod(ctx context.Context, pod NS, a *attachment.Attachment, ifName string, conf *netconf.NetConf) (inPod, error) {
	links, err := pod.Links(ctx)
	if err != nil {
		return inPod{}, fault.Wrapf(err, fault.CodeBadNetns, "", "list the pod's interfaces")
	}
	i := slices.IndexFunc(links, func(l nl.Link) bool { return l.Name == ifName })
	if i < 0 {
		return inPod{}, nil
	}
	in := inPod{link: &links[i]}
	if a.Extra.RDMADev != "" {
		if in.rdma, err = pod.RDMADevs(ctx); err != nil {
			return inPod{}, fault.Wrapf(err, fault.CodeRDMA, "", "list the pod's RDMA devices")
		}
	}
	if in.prev, err = conf.Previous(); err != nil || in.prev == nil {
		return in, err
	}
	in.addrs, err = pod.Addrs(ctx)
	return in, fault.Wrapf(err, fault.CodeBadNetns, "", "list the pod's addresses")
}

// differences are those of the files, of what the PF holds for the VF, and of the pod.
func (c checked) differences() []difference {
	out := slices.Concat(c.ofFiles(), c.ofAttributes())
	switch {
	case c.driven:
	case c.link == nil:
		out = append(out, difference{"interface " + c.args.IfName + " of the pod", "there", "missing"})
	default:
		out = slices.Concat(out, c.ofLink(), c.ofResult())
	}
	return out
}

func (c checked) ofFiles() (out []difference) {
	if c.stale {
		out = append(out, difference{"attachment", "of this run of the machine", "of an earlier one"})
	}
	if c.owner != c.args.Netns {
		out = append(out, difference{"allocation of VF " + c.att.DeviceID, strconv.Quote(c.args.Netns), strconv.Quote(c.owner)})
	}
	return out
}

func (c checked) ofAttributes() (out []difference) {
	if !c.known {
		return nil
	}
	for _, s := range vf.Wanted(&c.att.NetConf, c.cur) {
		out = append(out, difference{string(s.Attribute) + " of VF " + c.att.DeviceID + " at its PF", s.Text(s.Want), s.Text(c.cur)})
	}
	return out
}

func (c checked) ofLink() (out []difference) {
	if dev := c.link.ParentDev; dev != "" && dev != c.att.DeviceID {
		out = append(out, difference{"device of " + c.link.Name, c.att.DeviceID, dev})
	}
	if !c.link.Up {
		out = append(out, difference{c.link.Name, "up", "down"})
	}
	name := c.att.Extra.RDMADev
	if name != "" && !slices.ContainsFunc(c.rdma, func(d nl.RDMADev) bool { return d.Name == name }) {
		out = append(out, difference{"RDMA device " + name, "in the pod", "elsewhere"})
	}
	return out
}

// ofResult compares the interface with the result of ADD.
func (c checked) ofResult() (out []difference) {
	if c.prev == nil {
		return nil
	}
	for _, i := range c.prev.Interfaces {
		if i.Name == c.args.IfName && i.Sandbox == c.args.Netns && i.Mac != "" && !strings.EqualFold(i.Mac, c.link.MAC.String()) {
			out = append(out, difference{"MAC of " + c.link.Name, i.Mac, c.link.MAC.String()})
		}
	}
	for _, ip := range c.prev.IPs {
		if ip.Interface == nil || *ip.Interface < 0 || *ip.Interface >= len(c.prev.Interfaces) || c.prev.Interfaces[*ip.Interface].Name != c.args.IfName {
			continue
		}
		prefix, err := toPrefix(ip.Address)
		if err == nil && !slices.ContainsFunc(c.addrs, func(a nl.Addr) bool { return a.Index == c.link.Index && a.Prefix == prefix }) {
			out = append(out, difference{"address " + prefix.String() + " of " + c.link.Name, "there", "missing"})
		}
	}
	return out
}

// Status reports whether an ADD could succeed.
func (p *Plugin) Status(ctx context.Context, args *skel.CmdArgs) error {
	conf, err := netconf.Decode(args.StdinData)
	if err != nil {
		return err
	}
	_, err = p.Kernel.Host().Links(ctx)
	_, sysErr := p.Sysfs.ReadDir(sysfs.PCIDevices)
	if err := errors.Join(err, sysErr); err != nil {
		return fault.Wrapf(err, fault.CodeUnavailable, "the plugin needs /sys and CAP_NET_ADMIN", "the machine cannot be read")
	}
	return p.ipam(ctx, "STATUS", conf.IPAM.Type, args.StdinData)
}
