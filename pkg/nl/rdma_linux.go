package nl

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// RDMANetnsMode returns whether RDMA devices are shared by all network
// namespaces; [ErrUnsupported] when the RDMA core is not loaded.
func (h *Handle) RDMANetnsMode(ctx context.Context) (RDMANetnsMode, error) {
	const op = "read RDMA network namespace mode"
	typ := nl.RDMA_NL_NLDEV<<nl.RDMA_NL_GET_CLIENT_SHIFT | nl.RDMA_NLDEV_CMD_SYS_GET
	req := nl.NewNetlinkRequest(typ, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	var mode RDMANetnsMode
	err := h.do(ctx, unix.NETLINK_RDMA, req, func(b []byte) (err error) {
		mode, err = decodeRDMAMode(decode(b))
		return err
	})
	if err == nil && mode == "" {
		err = fmt.Errorf("the answer has no mode: %w", unix.EOPNOTSUPP)
	}
	return mode, wrap(err, op, "", "")
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
	if d.err != nil {
		return "", d.err
	}
	return mode, nil
}
