package nl

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// genlFamily is a family of generic netlink.
type genlFamily struct {
	name    string
	version uint8
}

// command sends a command to a family and decodes the answer.
func command[T any](ctx context.Context, h *Handle, to genlFamily, cmd uint8,
	decode func(*decoder) (T, error), attributes ...*nl.RtAttr,
) (T, error) {
	id, err := h.family(ctx, to.name)
	if err != nil {
		var none T
		return none, err
	}
	req := genlRequest(id, genlHeader{cmd, to.version}, attributes...)
	return ask(ctx, h, unix.NETLINK_GENERIC, req, func(b []byte) (T, error) { return decode(genl(b)) })
}

// done is the decoder for a command that has no answer but that it was done.
func done(*decoder) (none struct{}, err error) { return none, nil }

// family resolves a generic netlink family by name; ENOENT when its module is
// not there.
func (h *Handle) family(ctx context.Context, name string) (uint16, error) {
	req := genlRequest(unix.GENL_ID_CTRL, genlHeader{unix.CTRL_CMD_GETFAMILY, 1}, text(unix.CTRL_ATTR_FAMILY_NAME, name))
	id, err := ask(ctx, h, unix.NETLINK_GENERIC, req, func(b []byte) (uint16, error) { return decodeFamily(genl(b)) })
	if err == nil && id == 0 {
		err = unix.ENOENT
	}
	if errors.Is(err, unix.ENOENT) {
		return 0, fmt.Errorf("%w: the kernel has no netlink family %q: %w", ErrUnsupported, name, err)
	}
	if err != nil {
		return 0, fmt.Errorf("find the netlink family %q: %w", name, err)
	}
	return id, nil
}

// decodeFamily finds a family's number, 0 when it is not there.
func decodeFamily(d *decoder) (id uint16, err error) {
	for d.next() {
		if d.typ == unix.CTRL_ATTR_FAMILY_ID {
			id = d.u16()
		}
	}
	return id, d.err
}

// genlHeader is struct genlmsghdr. The library's own reads two bytes past its
// struct for the reserved field, which the kernel wants to be zero.
type genlHeader struct{ cmd, version uint8 }

func (h genlHeader) Len() int          { return nl.SizeofGenlmsg }
func (h genlHeader) Serialize() []byte { return []byte{h.cmd, h.version, 0, 0} }

// genlRequest builds a request to the family with the id.
func genlRequest(family uint16, head genlHeader, attributes ...*nl.RtAttr) *nl.NetlinkRequest {
	return withAttributes(nl.NewNetlinkRequest(int(family), unix.NLM_F_REQUEST|unix.NLM_F_ACK), head, attributes)
}

// genl is a decoder for the attributes behind the generic netlink header.
func genl(b []byte) *decoder { return decodeAfter(b, nl.SizeofGenlmsg) }
