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
	diffs, err := p.differences(ctx, args, conf)
	if err != nil {
		return err
	}
	if len(diffs) > 0 {
		return fault.Newf(fault.CodeCheck, checkHint, "not as it was attached: %s", strings.Join(diffs, "; "))
	}
	return p.ipam(ctx, "CHECK", conf.IPAM.Type, args.StdinData)
}

const checkHint = "delete the pod; its controller will make a new one"

// differences compares; the error is why that was not possible.
func (p *Plugin) differences(ctx context.Context, args *skel.CmdArgs, conf *netconf.NetConf) ([]string, error) {
	a, err := p.store().Load(attachment.Name(args.ContainerID, args.IfName))
	if err != nil {
		return nil, fault.Wrapf(err, types.ErrIOFailure, "", "read cache")
	}
	if a == nil || !a.HasDevice() {
		return nil, fault.Newf(fault.CodeCheck, checkHint, "no attachment of container %s with interface %s is known", args.ContainerID, args.IfName)
	}
	pod, err := p.openPod(args)
	if err != nil {
		return nil, err
	}
	defer pod.Close()
	c := comparison{pod: pod, att: a, args: args, conf: conf}
	c.files(p)
	v, err := vf.Find(p.Sysfs, a.DeviceID)
	if err != nil {
		return nil, err
	}
	cur, known, err := vf.Info(ctx, p.Kernel.Host(), v)
	if err != nil {
		return nil, fault.Wrapf(err, fault.CodeReadVF, "", "VF %s", v.Address)
	}
	if known {
		c.attributes(cur)
	}
	if !v.Userspace() {
		err = c.inPod(ctx)
	}
	return c.diffs, err
}

// comparison is that of an attachment with the machine.
type comparison struct {
	pod   NS
	att   *attachment.Attachment
	args  *skel.CmdArgs
	conf  *netconf.NetConf
	diffs []string // what is not as it was attached
}

func (c *comparison) differs(key, want, have string) {
	c.diffs = append(c.diffs, fmt.Sprintf("%s is %s, not %s", key, have, want))
}

// files compares what is on disk.
func (c *comparison) files(p *Plugin) {
	if c.att.Stale(p.Boot) {
		c.differs("attachment", "of this run of the machine", "of an earlier one")
	}
	owner, err := p.store().Owner(c.att.DeviceID)
	if err != nil {
		owner = "not known (" + err.Error() + ")"
	}
	if owner != c.args.Netns {
		c.differs("allocation of VF "+c.att.DeviceID, strconv.Quote(c.args.Netns), strconv.Quote(owner))
	}
}

// attributes compares what the PF holds for the VF.
func (c *comparison) attributes(cur nl.VFInfo) {
	for _, s := range vf.Wanted(&c.att.NetConf, cur) {
		c.differs(string(s.Attribute)+" of VF "+c.att.DeviceID+" at its PF", s.Text(s.Want), s.Text(cur))
	}
}

// inPod compares what is in the pod's namespace.
func (c *comparison) inPod(ctx context.Context) error {
	links, err := c.pod.Links(ctx)
	if err != nil {
		return fault.Wrapf(err, fault.CodeBadNetns, "", "list the pod's interfaces")
	}
	i := slices.IndexFunc(links, func(l nl.Link) bool { return l.Name == c.args.IfName })
	if i < 0 {
		c.differs("interface "+c.args.IfName+" of the pod", "there", "missing")
		return nil
	}
	link := links[i]
	if link.ParentDev != "" && link.ParentDev != c.att.DeviceID {
		c.differs("device of "+link.Name, c.att.DeviceID, link.ParentDev)
	}
	if !link.Up {
		c.differs(link.Name, "up", "down")
	}
	if name := c.att.Extra.RDMADev; name != "" {
		devs, err := c.pod.RDMADevs(ctx)
		if err != nil {
			return fault.Wrapf(err, fault.CodeRDMA, "", "list the pod's RDMA devices")
		}
		if !slices.ContainsFunc(devs, func(d nl.RDMADev) bool { return d.Name == name }) {
			c.differs("RDMA device "+name, "in the pod", "elsewhere")
		}
	}
	prev, err := c.conf.Previous()
	if err != nil || prev == nil {
		return err
	}
	addrs, err := c.pod.Addrs(ctx)
	if err != nil {
		return fault.Wrapf(err, fault.CodeBadNetns, "", "list the pod's addresses")
	}
	c.result(prev, link, addrs)
	return nil
}

// result compares the interface with the result of ADD.
func (c *comparison) result(prev *cni100.Result, link nl.Link, addrs []nl.Addr) {
	for _, i := range prev.Interfaces {
		if i.Name == c.args.IfName && i.Sandbox == c.args.Netns && i.Mac != "" && !strings.EqualFold(i.Mac, link.MAC.String()) {
			c.differs("MAC of "+link.Name, i.Mac, link.MAC.String())
		}
	}
	for _, ip := range prev.IPs {
		if ip.Interface == nil || *ip.Interface < 0 || *ip.Interface >= len(prev.Interfaces) || prev.Interfaces[*ip.Interface].Name != c.args.IfName {
			continue
		}
		prefix, err := toPrefix(ip.Address)
		if err == nil && !slices.ContainsFunc(addrs, func(a nl.Addr) bool { return a.Index == link.Index && a.Prefix == prefix }) {
			c.differs("address "+prefix.String()+" of "+link.Name, "there", "missing")
		}
	}
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
