package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	cni100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// Check compares the attachment with the machine and names every difference.
func (p *Plugin) Check(ctx context.Context, args *skel.CmdArgs) error {
	conf, err := decodeConf(args.StdinData)
	if err != nil {
		return err
	}
	a, err := p.store().Load(cacheName(args.ContainerID, args.IfName))
	if err != nil {
		return wrapf(err, types.ErrIOFailure, "", "read cache")
	}
	hint := "delete the pod; its controller will make a new one"
	if a == nil || !device(a) {
		return faultf(CodeCheck, hint, "no attachment of container %s with interface %s is known", args.ContainerID, args.IfName)
	}
	var diffs []string
	differ := func(format string, args ...any) { diffs = append(diffs, fmt.Sprintf(format, args...)) }
	if a.stale(p.Boot) {
		differ("the attachment is of an earlier run of the machine")
	}
	if owner, err := p.store().Owner(a.DeviceID); err != nil || owner != args.Netns {
		differ("VF %s is allocated to %q, not to %q", a.DeviceID, owner, args.Netns)
	}
	pod, err := p.openPod(args)
	if err != nil {
		return err
	}
	defer pod.Close()
	vf, err := FindVF(p.Sysfs, a.DeviceID)
	if err != nil {
		return err
	}
	cur, known, err := vfInfo(ctx, p.Kernel.Host(), vf)
	if err != nil {
		return wrapf(err, CodeReadVF, "", "VF %s", vf.Address)
	}
	if known {
		for _, s := range settings(&a.NetConf, a.MAC, cur) {
			differ("%s of VF %s at its PF", s.kind, vf.Address)
		}
	}
	if !vf.Userspace() {
		if err := p.checkLink(ctx, pod, a, args, conf, differ); err != nil {
			return err
		}
	}
	if len(diffs) > 0 {
		return faultf(CodeCheck, hint, "not as it was attached: %s", strings.Join(diffs, "; "))
	}
	if conf.IPAM.Type != "" {
		if err := p.IPAM.Check(ctx, conf.IPAM.Type, args.StdinData); err != nil {
			return wrapf(err, CodeIPAM, "", "IPAM plugin %s: CHECK", conf.IPAM.Type)
		}
	}
	return nil
}

func (p *Plugin) checkLink(ctx context.Context, pod NS, a *Attachment, args *skel.CmdArgs, conf *NetConf, differ func(string, ...any)) error {
	links, err := pod.Links(ctx)
	if err != nil {
		return wrapf(err, CodeBadNetns, "", "list the pod's interfaces")
	}
	var link *nl.Link
	for i := range links {
		if links[i].Name == args.IfName {
			link = &links[i]
		}
	}
	if link == nil {
		differ("the pod has no interface %s", args.IfName)
		return nil
	}
	if link.ParentDev != "" && link.ParentDev != a.DeviceID {
		differ("%s is device %s, not %s", link.Name, link.ParentDev, a.DeviceID)
	}
	if !link.Up {
		differ("%s is down", link.Name)
	}
	if a.Extra.RDMADev != "" {
		devs, err := pod.RDMADevs(ctx)
		if err != nil {
			return wrapf(err, CodeRDMA, "", "list the pod's RDMA devices")
		}
		found := false
		for _, d := range devs {
			found = found || d.Name == a.Extra.RDMADev
		}
		if !found {
			differ("RDMA device %s is not in the pod", a.Extra.RDMADev)
		}
	}
	prev, err := previous(conf)
	if err != nil || prev == nil {
		return err
	}
	for _, i := range prev.Interfaces {
		if i.Name == args.IfName && i.Sandbox == args.Netns && i.Mac != "" && !strings.EqualFold(i.Mac, link.MAC.String()) {
			differ("%s has MAC %s, not %s", link.Name, link.MAC, i.Mac)
		}
	}
	addrs, err := pod.Addrs(ctx)
	if err != nil {
		return wrapf(err, CodeBadNetns, "", "list the pod's addresses")
	}
	has := map[string]bool{}
	for _, addr := range addrs {
		has[fmt.Sprint(addr.Index, addr.Prefix)] = true
	}
	for _, ip := range prev.IPs {
		if ip.Interface == nil || *ip.Interface < 0 || *ip.Interface >= len(prev.Interfaces) || prev.Interfaces[*ip.Interface].Name != args.IfName {
			continue
		}
		if prefix, err := toPrefix(ip.Address); err == nil && !has[fmt.Sprint(link.Index, prefix)] {
			differ("%s has no address %s", link.Name, prefix)
		}
	}
	return nil
}

const prevHint = "prevResult is the result of the plugin before in the list, or at CHECK of ADD; " +
	"the runtime sets it, leave it out of the NetworkAttachmentDefinition"

// previous decodes prevResult, nil when there is none.
func previous(conf *NetConf) (*cni100.Result, error) {
	if len(conf.Prev) == 0 || string(conf.Prev) == "null" {
		return nil, nil
	}
	r, err := cni100Result(conf)
	if typ, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil, faultf(types.ErrDecodingFailure, prevHint, "network %q: prevResult: %s is a %s, must be %s",
			conf.Name, keyName(typ.Field), typ.Value, typeName(typ.Type.String()))
	}
	if err != nil {
		return nil, wrapf(err, types.ErrDecodingFailure, prevHint, "network %q: prevResult", conf.Name)
	}
	return r, nil
}

// errNull: the library follows such an entry when it converts a result.
var errNull = errors.New("a list of the result has a null entry")

func cni100Result(conf *NetConf) (*cni100.Result, error) {
	var lists struct{ Interfaces, IPs, Routes []*json.RawMessage }
	if err := json.Unmarshal(conf.Prev, &lists); err != nil {
		return nil, err
	}
	if slices.Contains(slices.Concat(lists.Interfaces, lists.IPs, lists.Routes), nil) {
		return nil, errNull
	}
	r, err := version.NewResult(conf.CNIVersion, conf.Prev)
	if err != nil {
		return nil, err
	}
	return cni100.NewResultFromResult(r)
}

// Status says whether an ADD could succeed.
func (p *Plugin) Status(ctx context.Context, args *skel.CmdArgs) error {
	conf, err := decodeConf(args.StdinData)
	if err != nil {
		return err
	}
	_, err = p.Kernel.Host().Links(ctx)
	_, sysErr := p.Sysfs.ReadDir(sysfs.PCIDevices)
	if err := errors.Join(err, sysErr); err != nil {
		return wrapf(err, CodeUnavailable, "the plugin needs /sys and CAP_NET_ADMIN", "the machine can not be read")
	}
	if conf.IPAM.Type != "" {
		if err := p.IPAM.Status(ctx, conf.IPAM.Type, args.StdinData); err != nil {
			return wrapf(err, CodeUnavailable, "is its program in the CNI folder?", "IPAM plugin %s: STATUS", conf.IPAM.Type)
		}
	}
	return nil
}
