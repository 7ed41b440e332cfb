package nl

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

var vdpaFamily = genlFamily{nl.VDPA_GENL_NAME, nl.VDPA_GENL_VERSION}

// VDPAAdd makes the vDPA device name on the management device (the VF's PCI
// address on bus "pci"; one that is on no bus has "").
func (h *Handle) VDPAAdd(ctx context.Context, name, bus, dev string) error {
	_, err := command(ctx, h, vdpaFamily, nl.VDPA_CMD_DEV_NEW, done, vdpaDevice(name, bus, dev)...)
	if errors.Is(err, unix.ENODEV) {
		err = fmt.Errorf("%w: the device offers no vDPA (is its vdpa module loaded, is the PF in switchdev mode?): %w",
			ErrUnsupported, err)
	}
	return wrap(err, "add vDPA device "+name, bus+"/"+dev, "")
}

// vdpaDevice is a vDPA device to make.
func vdpaDevice(name, bus, dev string) []*nl.RtAttr {
	device := []*nl.RtAttr{text(nl.VDPA_ATTR_DEV_NAME, name)}
	if bus != "" {
		device = append(device, text(nl.VDPA_ATTR_MGMTDEV_BUS_NAME, bus))
	}
	return append(device, text(nl.VDPA_ATTR_MGMTDEV_DEV_NAME, dev))
}

// VDPADel removes a vDPA device.
func (h *Handle) VDPADel(ctx context.Context, name string) error {
	_, err := command(ctx, h, vdpaFamily, nl.VDPA_CMD_DEV_DEL, done, text(nl.VDPA_ATTR_DEV_NAME, name))
	return wrap(err, "remove vDPA device", name, "")
}
