package kevent

import (
	"strings"
	"testing"
)

func msg(lines ...string) []byte { return []byte(strings.Join(lines, "\x00") + "\x00") }

const pf = "devices/pci0000:20/0000:20:00.0/0000:21:00.0"

func TestParseUevent(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []byte
		want uevent
		pass bool // interesting
	}{
		{"VF appears", msg("add@/"+pf[:38]+"/0000:21:10.0", "ACTION=add", "SUBSYSTEM=pci", "PCI_CLASS=20000", "PCI_ID=8086:10CA", "SEQNUM=2201"),
			uevent{action: "add", subsystem: "pci", path: pf[:38] + "/0000:21:10.0", name: "0000:21:10.0", device: "0000:21:10.0"}, true},
		{"driver binds", msg("bind@/"+pf, "ACTION=bind", "SUBSYSTEM=pci", "DRIVER=vfio-pci", "PCI_CLASS=20000"),
			uevent{action: "bind", subsystem: "pci", path: pf, name: "0000:21:00.0", device: "0000:21:00.0"}, true},
		{"accelerator", msg("unbind@/"+pf, "SUBSYSTEM=pci", "PCI_CLASS=120001"),
			uevent{action: "unbind", subsystem: "pci", path: pf, name: "0000:21:00.0", device: "0000:21:00.0"}, true},
		{"disk controller", msg("bind@/"+pf, "SUBSYSTEM=pci", "PCI_CLASS=10802"),
			uevent{action: "bind", subsystem: "pci", path: pf, name: "0000:21:00.0", device: "0000:21:00.0"}, false},
		{"VF's interface", msg("add@/"+pf+"/net/eth0", "SUBSYSTEM=net", "INTERFACE=eth0", "IFINDEX=12"),
			uevent{action: "add", subsystem: "net", path: pf + "/net/eth0", name: "eth0", device: "0000:21:00.0"}, true},
		{"rename", msg("move@/"+pf+"/net/enp33s16", "SUBSYSTEM=net", "DEVPATH_OLD=/"+pf+"/net/eth0", "INTERFACE=enp33s16", "IFINDEX=12"),
			uevent{action: "move", subsystem: "net", path: pf + "/net/enp33s16", name: "enp33s16", device: "0000:21:00.0"}, true},
		{"pod's veth", msg("add@/devices/virtual/net/veth1", "SUBSYSTEM=net", "INTERFACE=veth1", "IFINDEX=13"),
			uevent{action: "add", subsystem: "net", path: "devices/virtual/net/veth1", name: "veth1"}, false},
		{"interface's queue", msg("add@/"+pf+"/net/eth0/queues/rx-0", "SUBSYSTEM=queues"),
			uevent{action: "add", subsystem: "queues", path: pf + "/net/eth0/queues/rx-0", name: "rx-0", device: "0000:21:00.0"}, false},
		{"RDMA device", msg("add@/"+pf+"/infiniband/mlx5_2", "SUBSYSTEM=infiniband", "NAME=mlx5_2"),
			uevent{action: "add", subsystem: "infiniband", path: pf + "/infiniband/mlx5_2", name: "mlx5_2", device: "0000:21:00.0"}, true},
		{"software RDMA device", msg("add@/devices/virtual/infiniband/rxe0", "SUBSYSTEM=infiniband"),
			uevent{action: "add", subsystem: "infiniband", path: "devices/virtual/infiniband/rxe0", name: "rxe0"}, true},
		{"vDPA", msg("bind@/"+pf+"/vdpa0", "SUBSYSTEM=vdpa", "DRIVER=vhost_vdpa"),
			uevent{action: "bind", subsystem: "vdpa", path: pf + "/vdpa0", name: "vdpa0", device: "0000:21:00.0"}, true},
		{"subfunction", msg("add@/"+pf+"/mlx5_core.sf.4", "SUBSYSTEM=auxiliary", "MODALIAS=auxiliary:mlx5_core.sf"),
			uevent{action: "add", subsystem: "auxiliary", path: pf + "/mlx5_core.sf.4", name: "mlx5_core.sf.4", device: "0000:21:00.0"}, true},
		{"vfio group", msg("add@/devices/virtual/vfio/12", "SUBSYSTEM=vfio", "DEVNAME=vfio/12"),
			uevent{action: "add", subsystem: "vfio", path: "devices/virtual/vfio/12", name: "12"}, true},
		{"driver loaded", msg("add@/bus/pci/drivers/vfio-pci", "SUBSYSTEM=drivers"),
			uevent{action: "add", subsystem: "drivers", path: "bus/pci/drivers/vfio-pci", name: "vfio-pci"}, true},
		{"module that vfio programs need", msg("add@/module/vfio_iommu_type1", "SUBSYSTEM=module"),
			uevent{action: "add", subsystem: "module", path: "module/vfio_iommu_type1", name: "vfio_iommu_type1"}, true},
		{"another module", msg("add@/module/xfs", "SUBSYSTEM=module"),
			uevent{action: "add", subsystem: "module", path: "module/xfs", name: "xfs"}, false},
		{"RDMA connection manager", msg("add@/devices/virtual/misc/rdma_cm", "SUBSYSTEM=misc", "DEVNAME=infiniband/rdma_cm"),
			uevent{action: "add", subsystem: "misc", path: "devices/virtual/misc/rdma_cm", name: "rdma_cm"}, true},
		{"another misc device", msg("add@/devices/virtual/misc/fuse", "SUBSYSTEM=misc", "DEVNAME=fuse"),
			uevent{action: "add", subsystem: "misc", path: "devices/virtual/misc/fuse", name: "fuse"}, false},
		{"USB driver", msg("add@/bus/usb/drivers/usbhid", "SUBSYSTEM=drivers"),
			uevent{action: "add", subsystem: "drivers", path: "bus/usb/drivers/usbhid", name: "usbhid"}, false},
		{"disk", msg("change@/devices/virtual/block/loop0", "SUBSYSTEM=block", "DISK_MEDIA_CHANGE=1"),
			uevent{action: "change", subsystem: "block", path: "devices/virtual/block/loop0", name: "loop0"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := parseUevent(tc.in)
			if !ok {
				t.Fatal("not taken for a uevent")
			}
			var events []Event
			decodeUevent(tc.in, func(e Event) { events = append(events, e) })
			if want := (Event{Device, tc.want.name}); tc.pass != (len(events) == 1) || tc.pass && events[0] != want {
				t.Errorf("events %+v, interesting %v, want %+v", events, tc.pass, want)
			}
			got.class = "" // has its effect above
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestParseUeventRefuses(t *testing.T) {
	for _, in := range []string{
		"", "add@/devices/x", "\x00", "add\x00SUBSYSTEM=pci\x00", "@/devices/x\x00", "add@devices/x\x00",
		"libudev\x00\xfe\xed\xca\xfe\x28\x00\x00\x00",
	} {
		if e, ok := parseUevent([]byte(in)); ok {
			t.Errorf("parseUevent(%q) = %+v", in, e)
		}
	}
}

func FuzzParseUevent(f *testing.F) {
	f.Add(msg("add@/"+pf+"/net/eth0", "SUBSYSTEM=net", "INTERFACE=eth0", "IFINDEX=12"))
	f.Add([]byte("libudev\x00\xfe\xed\xca\xfe"))
	f.Add([]byte("@\x00=\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok := parseUevent(b)
		if !ok {
			return
		}
		if e.action == "" || strings.HasPrefix(e.path, "/") || strings.Contains(e.action+e.path+e.name, "\x00") {
			t.Errorf("parseUevent(%q) = %+v", b, e)
		}
		_ = e.interesting()
	})
}
