package nl

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// rdmaType is the message type of a command about RDMA devices.
func rdmaType(cmd int) int { return nl.RDMA_NL_NLDEV<<nl.RDMA_NL_GET_CLIENT_SHIFT | cmd }

// RDMANetnsMode returns whether RDMA devices are shared by all network
// namespaces; [ErrUnsupported] when the RDMA core is not loaded.
func (h *Handle) RDMANetnsMode(ctx context.Context) (RDMANetnsMode, error) {
	req := nl.NewNetlinkRequest(rdmaType(nl.RDMA_NLDEV_CMD_SYS_GET), unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	mode, err := ask(ctx, h, unix.NETLINK_RDMA, req, func(b []byte) (RDMANetnsMode, error) { return decodeRDMAMode(decode(b)) })
	if err == nil && mode == "" {
		err = fmt.Errorf("the answer has no mode: %w", unix.EOPNOTSUPP)
	}
	return mode, wrap(err, "read RDMA network namespace mode", "", "")
}

// decodeRDMAMode finds the mode, "" when it is not there.
func decodeRDMAMode(d *decoder) (mode RDMANetnsMode, err error) {
	for d.next() {
		if d.typ != nl.RDMA_NLDEV_SYS_ATTR_NETNS_MODE {
			continue
		}
		mode = RDMAShared
		if d.u8() == 0 {
			mode = RDMAExclusive
		}
	}
	return mode, d.err
}

// RDMADev is an RDMA device of a namespace.
type RDMADev struct {
	Index uint32
	Name  string // mlx5_2
}

// RDMADevs lists the RDMA devices that are visible in the namespace;
// [ErrUnsupported] when the RDMA core is not loaded.
func (h *Handle) RDMADevs(ctx context.Context) ([]RDMADev, error) {
	req := nl.NewNetlinkRequest(rdmaType(nl.RDMA_NLDEV_CMD_GET), unix.NLM_F_DUMP)
	out, err := list(ctx, h, unix.NETLINK_RDMA, req, func(b []byte) (RDMADev, bool, error) {
		dev, err := decodeRDMADev(decode(b))
		return dev, true, err
	})
	return out, wrap(err, "list RDMA devices", "", "")
}

func decodeRDMADev(d *decoder) (dev RDMADev, err error) {
	for d.next() {
		switch d.typ {
		case nl.RDMA_NLDEV_ATTR_DEV_INDEX:
			dev.Index = d.u32()
		case nl.RDMA_NLDEV_ATTR_DEV_NAME:
			dev.Name = d.str()
		}
	}
	return dev, d.err
}

// MoveRDMA moves an RDMA device to another namespace, where it keeps its name.
// The subsystem has to be in exclusive mode.
func (h *Handle) MoveRDMA(ctx context.Context, dev RDMADev, to *Handle) error {
	err := to.withFD(func(fd int) error {
		req := nl.NewNetlinkRequest(rdmaType(nl.RDMA_NLDEV_CMD_SET), unix.NLM_F_REQUEST|unix.NLM_F_ACK)
		req.AddData(u32Attr(nl.RDMA_NLDEV_ATTR_DEV_INDEX, dev.Index))
		req.AddData(u32Attr(nl.RDMA_NLDEV_NET_NS_FD, uint32(fd)))
		return h.do(ctx, unix.NETLINK_RDMA, req, nil)
	})
	return wrap(err, "move to another network namespace", "RDMA device "+dev.Name, "")
}
