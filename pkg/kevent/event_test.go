package kevent

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func msg(lines ...string) []byte { return []byte(strings.Join(lines, "\x00") + "\x00") }

const pf = "devices/pci0000:20/0000:20:00.0/0000:21:00.0"

func TestParseUevent(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []byte
		want Event
		pass bool // interesting
	}{
		{"VF appears", msg("add@/"+pf[:38]+"/0000:21:10.0", "ACTION=add", "SUBSYSTEM=pci", "PCI_CLASS=20000", "PCI_ID=8086:10CA", "SEQNUM=2201"),
			Event{Action: "add", Subsystem: "pci", Path: pf[:38] + "/0000:21:10.0", Name: "0000:21:10.0", Device: "0000:21:10.0"}, true},
		{"driver binds", msg("bind@/"+pf, "ACTION=bind", "SUBSYSTEM=pci", "DRIVER=vfio-pci", "PCI_CLASS=20000"),
			Event{Action: "bind", Subsystem: "pci", Path: pf, Name: "0000:21:00.0", Device: "0000:21:00.0", Driver: "vfio-pci"}, true},
		{"accelerator", msg("unbind@/"+pf, "SUBSYSTEM=pci", "PCI_CLASS=120001"),
			Event{Action: "unbind", Subsystem: "pci", Path: pf, Name: "0000:21:00.0", Device: "0000:21:00.0"}, true},
		{"disk controller", msg("bind@/"+pf, "SUBSYSTEM=pci", "PCI_CLASS=10802"),
			Event{Action: "bind", Subsystem: "pci", Path: pf, Name: "0000:21:00.0", Device: "0000:21:00.0"}, false},
		{"VF's interface", msg("add@/"+pf+"/net/eth0", "SUBSYSTEM=net", "INTERFACE=eth0", "IFINDEX=12"),
			Event{Action: "add", Subsystem: "net", Path: pf + "/net/eth0", Name: "eth0", Device: "0000:21:00.0", Index: 12}, true},
		{"rename", msg("move@/"+pf+"/net/enp33s16", "SUBSYSTEM=net", "DEVPATH_OLD=/"+pf+"/net/eth0", "INTERFACE=enp33s16", "IFINDEX=12"),
			Event{Action: "move", Subsystem: "net", Path: pf + "/net/enp33s16", Name: "enp33s16", Device: "0000:21:00.0", Index: 12}, true},
		{"pod's veth", msg("add@/devices/virtual/net/veth1", "SUBSYSTEM=net", "INTERFACE=veth1", "IFINDEX=13"),
			Event{Action: "add", Subsystem: "net", Path: "devices/virtual/net/veth1", Name: "veth1", Index: 13}, false},
		{"interface's queue", msg("add@/"+pf+"/net/eth0/queues/rx-0", "SUBSYSTEM=queues"),
			Event{Action: "add", Subsystem: "queues", Path: pf + "/net/eth0/queues/rx-0", Name: "rx-0", Device: "0000:21:00.0"}, false},
		{"RDMA device", msg("add@/"+pf+"/infiniband/mlx5_2", "SUBSYSTEM=infiniband", "NAME=mlx5_2"),
			Event{Action: "add", Subsystem: "infiniband", Path: pf + "/infiniband/mlx5_2", Name: "mlx5_2", Device: "0000:21:00.0"}, true},
		{"software RDMA device", msg("add@/devices/virtual/infiniband/rxe0", "SUBSYSTEM=infiniband"),
			Event{Action: "add", Subsystem: "infiniband", Path: "devices/virtual/infiniband/rxe0", Name: "rxe0"}, true},
		{"vDPA", msg("bind@/"+pf+"/vdpa0", "SUBSYSTEM=vdpa", "DRIVER=vhost_vdpa"),
			Event{Action: "bind", Subsystem: "vdpa", Path: pf + "/vdpa0", Name: "vdpa0", Device: "0000:21:00.0", Driver: "vhost_vdpa"}, true},
		{"subfunction", msg("add@/"+pf+"/mlx5_core.sf.4", "SUBSYSTEM=auxiliary", "MODALIAS=auxiliary:mlx5_core.sf"),
			Event{Action: "add", Subsystem: "auxiliary", Path: pf + "/mlx5_core.sf.4", Name: "mlx5_core.sf.4", Device: "0000:21:00.0"}, true},
		{"vfio group", msg("add@/devices/virtual/vfio/12", "SUBSYSTEM=vfio", "DEVNAME=vfio/12"),
			Event{Action: "add", Subsystem: "vfio", Path: "devices/virtual/vfio/12", Name: "12"}, true},
		{"driver loaded", msg("add@/bus/pci/drivers/vfio-pci", "SUBSYSTEM=drivers"),
			Event{Action: "add", Subsystem: "drivers", Path: "bus/pci/drivers/vfio-pci", Name: "vfio-pci"}, true},
		{"module that vfio programs need", msg("add@/module/vfio_iommu_type1", "SUBSYSTEM=module"),
			Event{Action: "add", Subsystem: "module", Path: "module/vfio_iommu_type1", Name: "vfio_iommu_type1"}, true},
		{"another module", msg("add@/module/xfs", "SUBSYSTEM=module"),
			Event{Action: "add", Subsystem: "module", Path: "module/xfs", Name: "xfs"}, false},
		{"RDMA connection manager", msg("add@/devices/virtual/misc/rdma_cm", "SUBSYSTEM=misc", "DEVNAME=infiniband/rdma_cm"),
			Event{Action: "add", Subsystem: "misc", Path: "devices/virtual/misc/rdma_cm", Name: "rdma_cm"}, true},
		{"another misc device", msg("add@/devices/virtual/misc/fuse", "SUBSYSTEM=misc", "DEVNAME=fuse"),
			Event{Action: "add", Subsystem: "misc", Path: "devices/virtual/misc/fuse", Name: "fuse"}, false},
		{"USB driver", msg("add@/bus/usb/drivers/usbhid", "SUBSYSTEM=drivers"),
			Event{Action: "add", Subsystem: "drivers", Path: "bus/usb/drivers/usbhid", Name: "usbhid"}, false},
		{"disk", msg("change@/devices/virtual/block/loop0", "SUBSYSTEM=block", "DISK_MEDIA_CHANGE=1"),
			Event{Action: "change", Subsystem: "block", Path: "devices/virtual/block/loop0", Name: "loop0"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := ParseUevent(tc.in)
			if !ok {
				t.Fatal("not taken for a uevent")
			}
			tc.want.Kind = Device
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreUnexported(Event{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if got.interesting() != tc.pass {
				t.Errorf("interesting = %v", !tc.pass)
			}
		})
	}
}

func TestParseUeventRefuses(t *testing.T) {
	for _, in := range []string{
		"", "add@/devices/x", "\x00", "add\x00SUBSYSTEM=pci\x00", "@/devices/x\x00", "add@devices/x\x00",
		"libudev\x00\xfe\xed\xca\xfe\x28\x00\x00\x00",
	} {
		if e, ok := ParseUevent([]byte(in)); ok {
			t.Errorf("ParseUevent(%q) = %+v", in, e)
		}
	}
}

func FuzzParseUevent(f *testing.F) {
	f.Add(msg("add@/"+pf+"/net/eth0", "SUBSYSTEM=net", "INTERFACE=eth0", "IFINDEX=12"))
	f.Add([]byte("libudev\x00\xfe\xed\xca\xfe"))
	f.Add([]byte("@\x00=\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok := ParseUevent(b)
		if !ok {
			return
		}
		if e.Kind != Device || e.Action == "" || strings.HasPrefix(e.Path, "/") || strings.Contains(e.Action+e.Path+e.Name, "\x00") {
			t.Errorf("ParseUevent(%q) = %+v", b, e)
		}
		_ = e.interesting()
	})
}
