// Package nl talks netlink: rtnetlink links, addresses and routes, devlink,
// RDMA, vdpa, and the one ethtool feature that has no other way.
//
// It is the only importer of github.com/vishvananda/netlink, of which it uses
// the message layer; attributes are decoded here, because the inventory needs
// several that the library leaves out (VF GUIDs, maximum MTU, switch ids) and
// because a short attribute must be an error and not a panic. Dumps that the
// kernel says were interrupted are repeated, a bounded number of times.
//
// Everything that reads serves pkg/inventory; everything that sets is called
// by pkg/apply and pkg/cni only. The package decides nothing: it says what was
// asked of which device and what the kernel answered ([Error]), and branches
// on errno, never on text. The types and errors build on any system, the
// [Handle] on Linux.
//
// It may import the standard library, x/sys/unix, vishvananda/netlink/nl,
// vishvananda/netns and safchain/ethtool; nothing of this project.
package nl
