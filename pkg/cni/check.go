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

// Difference is something that is not as it was attached.
type Difference struct {
	Key  string // what differs
	Want string
	Have string
}

func (d Difference) String() string { return fmt.Sprintf("%s is %s, not %s", d.Key, d.Have, d.Want) }

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
		texts := make([]string, len(diffs))
		for i, d := range diffs {
			texts[i] = d.String()
		}
		return fault.Newf(fault.CodeCheck, checkHint, "not as it was attached: %s", strings.Join(texts, "; "))
	}
	if conf.IPAM.Type == "" {
		return nil
	}
	err = p.IPAM.Check(ctx, conf.IPAM.Type, args.StdinData)
	return fault.Wrapf(err, fault.CodeIPAM, "", "IPAM plugin %s: CHECK", conf.IPAM.Type)
}

const checkHint = "delete the pod; its controller will make a new one"

// differences compares; the error is why that was not possible.
func (p *Plugin) differences(ctx context.Context, args *skel.CmdArgs, conf *netconf.NetConf) ([]Difference, error) {
	a, err := p.store().Load(attachment.Name(args.ContainerID, args.IfName))
	if err != nil {
		return nil, fault.Wrapf(err, types.ErrIOFailure, "", "read cache")
	}
	if a == nil || !a.HasDevice() {
		return nil, fault.Newf(fault.CodeCheck, checkHint, "no attachment of container %s with interface %s is known", args.ContainerID, args.IfName)
	}
	diffs := p.checkFiles(a, args)
	pod, err := p.openPod(args)
	if err != nil {
		return nil, err
	}
	defer pod.Close()
	v, err := vf.Find(p.Sysfs, a.DeviceID)
	if err != nil {
		return nil, err
	}
	cur, known, err := vf.Info(ctx, p.Kernel.Host(), v)
	if err != nil {
		return nil, fault.Wrapf(err, fault.CodeReadVF, "", "VF %s", v.Address)
	}
	if known {
		diffs = append(diffs, checkAttributes(a, cur)...)
	}
	if v.Userspace() {
		return diffs, nil
	}
	more, err := checkPod(ctx, checked{pod: pod, att: a, args: args, conf: conf})
	return append(diffs, more...), err
}

// checkFiles compares what is on disk.
func (p *Plugin) checkFiles(a *attachment.Attachment, args *skel.CmdArgs) (diffs []Difference) {
	if a.Stale(p.Boot) {
		diffs = append(diffs, Difference{Key: "attachment", Want: "of this run of the machine", Have: "of an earlier one"})
	}
	owner, err := p.store().Owner(a.DeviceID)
	if err != nil {
		owner = "not known (" + err.Error() + ")"
	}
	if owner != args.Netns {
		diffs = append(diffs, Difference{Key: "allocation of VF " + a.DeviceID, Want: strconv.Quote(args.Netns), Have: strconv.Quote(owner)})
	}
	return diffs
}

// checkAttributes compares what the PF holds for the VF.
func checkAttributes(a *attachment.Attachment, cur nl.VFInfo) (diffs []Difference) {
	for _, s := range vf.Wanted(&a.NetConf, cur) {
		diffs = append(diffs, Difference{
			Key: string(s.Attribute) + " of VF " + a.DeviceID + " at its PF", Want: s.Text(), Have: s.Present(cur),
		})
	}
	return diffs
}

// checked is an attachment with an interface in the pod.
type checked struct {
	pod  NS
	att  *attachment.Attachment
	args *skel.CmdArgs
	conf *netconf.NetConf
}

// checkPod compares what is in the pod's namespace.
func checkPod(ctx context.Context, c checked) ([]Difference, error) {
	links, err := c.pod.Links(ctx)
	if err != nil {
		return nil, fault.Wrapf(err, fault.CodeBadNetns, "", "list the pod's interfaces")
	}
	i := slices.IndexFunc(links, func(l nl.Link) bool { return l.Name == c.args.IfName })
	if i < 0 {
		return []Difference{{Key: "interface " + c.args.IfName + " of the pod", Want: "there", Have: "missing"}}, nil
	}
	link := links[i]
	diffs := checkLink(c, link)
	missing, err := checkRDMA(ctx, c)
	if err != nil {
		return nil, err
	}
	diffs = append(diffs, missing...)
	prev, err := c.conf.Previous()
	if err != nil || prev == nil {
		return diffs, err
	}
	addrs, err := c.pod.Addrs(ctx)
	if err != nil {
		return nil, fault.Wrapf(err, fault.CodeBadNetns, "", "list the pod's addresses")
	}
	return append(diffs, checkResult(c.args, prev, link, addrs)...), nil
}

func checkLink(c checked, link nl.Link) (diffs []Difference) {
	if link.ParentDev != "" && link.ParentDev != c.att.DeviceID {
		diffs = append(diffs, Difference{Key: "device of " + link.Name, Want: c.att.DeviceID, Have: link.ParentDev})
	}
	if !link.Up {
		diffs = append(diffs, Difference{Key: link.Name, Want: "up", Have: "down"})
	}
	return diffs
}

func checkRDMA(ctx context.Context, c checked) ([]Difference, error) {
	name := c.att.Extra.RDMADev
	if name == "" {
		return nil, nil
	}
	devs, err := c.pod.RDMADevs(ctx)
	if err != nil {
		return nil, fault.Wrapf(err, fault.CodeRDMA, "", "list the pod's RDMA devices")
	}
	if slices.ContainsFunc(devs, func(d nl.RDMADev) bool { return d.Name == name }) {
		return nil, nil
	}
	return []Difference{{Key: "RDMA device " + name, Want: "in the pod", Have: "elsewhere"}}, nil
}

// checkResult compares the interface with the result of ADD.
func checkResult(args *skel.CmdArgs, prev *cni100.Result, link nl.Link, addrs []nl.Addr) (diffs []Difference) {
	for _, i := range prev.Interfaces {
		if i.Name == args.IfName && i.Sandbox == args.Netns && i.Mac != "" && !strings.EqualFold(i.Mac, link.MAC.String()) {
			diffs = append(diffs, Difference{Key: "MAC of " + link.Name, Want: i.Mac, Have: link.MAC.String()})
		}
	}
	for _, ip := range prev.IPs {
		if ip.Interface == nil || *ip.Interface < 0 || *ip.Interface >= len(prev.Interfaces) || prev.Interfaces[*ip.Interface].Name != args.IfName {
			continue
		}
		prefix, err := toPrefix(ip.Address)
		if err == nil && !slices.ContainsFunc(addrs, func(a nl.Addr) bool { return a.Index == link.Index && a.Prefix == prefix }) {
			diffs = append(diffs, Difference{Key: "address " + prefix.String() + " of " + link.Name, Want: "there", Have: "missing"})
		}
	}
	return diffs
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
	if conf.IPAM.Type == "" {
		return nil
	}
	err = p.IPAM.Status(ctx, conf.IPAM.Type, args.StdinData)
	return fault.Wrapf(err, fault.CodeUnavailable, "is its program in the CNI directory?", "IPAM plugin %s: STATUS", conf.IPAM.Type)
}
