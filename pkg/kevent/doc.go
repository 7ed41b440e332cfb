// Package kevent turns the kernel's own announcements into events, so that
// nothing has to be polled: uevents (a VF appeared, a driver was bound, an
// RDMA or vDPA device came or went) and rtnetlink's link, address and default
// route changes.
//
// An event is a reason to read the world again, not the news itself: the
// kernel may drop announcements when they come faster than they are taken.
// That is announced by an event of kind [Lost], and so is what could not be decoded,
// and a socket that failed and was opened again, which the watcher does by itself
// for as long as it takes. What cannot concern SR-IOV (a pod's veth, a USB stick) is
// filtered out here and wakes nobody.
//
// Uevents reach only network namespaces that the initial user namespace owns,
// which the host's is. The package imports pkg/nl for its decoders and pkg/sysfs
// for names of devices; it logs each event at debug, writes nothing and decides nothing.
package kevent
