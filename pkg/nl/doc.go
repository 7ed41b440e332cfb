// Package nl talks netlink: rtnetlink links, addresses and routes, devlink,
// RDMA, vdpa, and the one ethtool feature that has no other way.
//
// It is the only importer of github.com/vishvananda/netlink, of which it uses
// the sockets and the requests. Answers are received and decoded here: the
// inventory needs attributes that the library leaves out (VF GUIDs, maximum MTU,
// switch ids), an answer may be longer than the library reads, and an attribute
// that is cut or has a wrong length is an error here ([ErrMalformed]) that names
// it, neither zero nor the end of the walk. So an answer that was misread is never
// taken for one that says "none". Dumps that the kernel calls interrupted are
// repeated, a bounded number of times.
//
// pkg/inventory, pkg/cni and pkg/agent read through a [Handle], pkg/apply and
// pkg/cni set through one, and pkg/kevent decodes announcements with [DecodeLink],
// [DecodeAddr] and [DecodeRoute]. The package decides nothing: it returns what was
// asked of which device and what the kernel answered ([Error]), and branches on
// errno, never on text. The types and errors build on any system, the Handle and
// the decoders on Linux.
//
// It may import the standard library, x/sys/unix, vishvananda/netlink/nl,
// vishvananda/netns and safchain/ethtool; nothing of this project.
package nl
