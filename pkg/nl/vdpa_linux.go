package nl

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// vdpaRequest builds a request to the family with the id.
func vdpaRequest(family uint16, cmd uint8, flags int, attributes ...*nl.RtAttr) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(int(family), unix.NLM_F_REQUEST|flags)
	req.AddData(genlHeader{cmd, nl.VDPA_GENL_VERSION})
	for _, a := range attributes {
		req.AddData(a)
	}
	return req
}

// VDPAAdd makes the vDPA device name on the management device (the VF's PCI
// address on bus "pci"; one that is on no bus has "").
func (h *Handle) VDPAAdd(ctx context.Context, name, bus, dev string) error {
	id, err := h.family(ctx, nl.VDPA_GENL_NAME)
	if err == nil {
		err = h.do(ctx, unix.NETLINK_GENERIC, vdpaAdd(id, name, bus, dev), nil)
	}
	if errors.Is(err, unix.ENODEV) {
		err = fmt.Errorf("%w: the device offers no vDPA (is its vdpa module loaded, is the PF in switchdev mode?): %w",
			ErrUnsupported, err)
	}
	return wrap(err, "add vDPA device "+name, bus+"/"+dev, "")
}

func vdpaAdd(family uint16, name, bus, dev string) *nl.NetlinkRequest {
	req := vdpaRequest(family, nl.VDPA_CMD_DEV_NEW, unix.NLM_F_ACK, nl.NewRtAttr(nl.VDPA_ATTR_DEV_NAME, nl.ZeroTerminated(name)))
	if bus != "" {
		req.AddData(nl.NewRtAttr(nl.VDPA_ATTR_MGMTDEV_BUS_NAME, nl.ZeroTerminated(bus)))
	}
	req.AddData(nl.NewRtAttr(nl.VDPA_ATTR_MGMTDEV_DEV_NAME, nl.ZeroTerminated(dev)))
	return req
}

// VDPADel removes a vDPA device.
func (h *Handle) VDPADel(ctx context.Context, name string) error {
	id, err := h.family(ctx, nl.VDPA_GENL_NAME)
	if err == nil {
		err = h.do(ctx, unix.NETLINK_GENERIC, vdpaRequest(id, nl.VDPA_CMD_DEV_DEL, unix.NLM_F_ACK,
			nl.NewRtAttr(nl.VDPA_ATTR_DEV_NAME, nl.ZeroTerminated(name))), nil)
	}
	return wrap(err, "remove vDPA device", name, "")
}
