package differential

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// machine is what the programs find: sysfs, device nodes and interfaces.
type machine struct {
	functions []function
	sfs       []subfunction
	// missing are nodes below /dev, and entries of class/misc, that this machine
	// lacks.
	missing []string
	// route and address make an interface the node's own.
	route, address string
}

// function is a PCI function.
type function struct {
	addr, vendor, device, class, driver string // class: 6 digits, driver "" for none
	numa                                int
	net                                 []netdev
	acpi                                string
	total, vfs                          int // of a PF: sriov_totalvfs, sriov_numvfs
	pf                                  string
	index                               int // of a VF
	group                               int // IOMMU group, 0 for none
	noIOMMU                             bool
	uio                                 string
	rdma                                []rdma
}

type netdev struct {
	name               string
	alt                string // a second name
	infiniband         bool
	switchID, portName string
}

type rdma struct {
	name, pkey string
	number     int // of uverbs, umad and issm
	ucm        bool
	on         string // of software: the interface it sits on
}

type subfunction struct {
	name, parent string
	num          int
	net          []netdev
	rdma         []rdma
	noNum        bool
}

func ether(name string) []netdev { return []netdev{{name: name}} }

// virtual returns n VFs of the PF at the addresses that follow it by stride 1.
func virtual(pf function, device, driver string, n int, change func(i int, f *function)) []function {
	var out []function
	stem := pf.addr[:len(pf.addr)-4]
	for i := range n {
		f := function{
			addr:   fmt.Sprintf("%s%02x.%d", stem, 1+i/8, i%8),
			vendor: pf.vendor, device: device, class: pf.class, driver: driver,
			numa: pf.numa, pf: pf.addr, index: i,
		}
		if change != nil {
			change(i, &f)
		}
		out = append(out, f)
	}
	return out
}

// tree writes below root what sysfs shows of a machine.
type tree struct{ root string }

func (t tree) file(name, content string) error {
	path := filepath.Join(t.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content+"\n"), 0o644)
}

// link makes name a link to target, both below the root, relative as the kernel
// makes it.
func (t tree) link(name, target string) error {
	path := filepath.Join(t.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(t.root, target), 0o755); err != nil {
		return err
	}
	rel, err := filepath.Rel(filepath.Dir(path), filepath.Join(t.root, target))
	if err != nil {
		return err
	}
	return os.Symlink(rel, path)
}

// all runs the steps up to the first that fails.
func all(steps ...error) error {
	for _, err := range steps {
		if err != nil {
			return err
		}
	}
	return nil
}

func pciDir(addr string) string {
	return "devices/pci" + addr[:strings.LastIndex(addr, ":")] + "/" + addr
}

func (m *machine) writeSysfs(root string) error {
	t := tree{root}
	for _, dir := range []string{"bus/pci/devices", "bus/auxiliary/devices", "class/net", "class/infiniband", "class/misc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for i := range m.functions {
		if err := m.functions[i].write(t); err != nil {
			return err
		}
	}
	for i := range m.sfs {
		if err := m.sfs[i].write(t); err != nil {
			return err
		}
	}
	for _, name := range []string{"vhost-net", "tun", "rdma_cm"} {
		if m.lacks(name) {
			continue
		}
		if err := t.link("class/misc/"+name, "devices/virtual/misc/"+name); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) lacks(name string) bool {
	for _, s := range m.missing {
		if s == name {
			return true
		}
	}
	return false
}

func (f *function) write(t tree) error {
	dir := pciDir(f.addr)
	up := strings.ToUpper
	uevent := fmt.Sprintf("PCI_CLASS=%s\nPCI_ID=%s:%s\nPCI_SLOT_NAME=%s", up(strings.TrimLeft(f.class, "0")), up(f.vendor), up(f.device), f.addr)
	if f.driver != "" {
		uevent = "DRIVER=" + f.driver + "\n" + uevent
	}
	err := all(
		t.link("bus/pci/devices/"+f.addr, dir),
		t.file(dir+"/uevent", uevent),
		t.file(dir+"/modalias", fmt.Sprintf("pci:v0000%sd0000%ssv00000000sd00000000bc%ssc%si%s",
			up(f.vendor), up(f.device), up(f.class[:2]), up(f.class[2:4]), up(f.class[4:]))),
		t.file(dir+"/vendor", "0x"+f.vendor),
		t.file(dir+"/device", "0x"+f.device),
		t.file(dir+"/class", "0x"+f.class),
		t.file(dir+"/revision", "0x00"),
		t.file(dir+"/numa_node", strconv.Itoa(f.numa)),
	)
	if f.driver != "" {
		err = all(err, t.link(dir+"/driver", "bus/pci/drivers/"+f.driver))
	}
	if f.acpi != "" {
		err = all(err, t.file(dir+"/acpi_index", f.acpi))
	}
	if f.total > 0 {
		err = all(err, t.file(dir+"/sriov_totalvfs", strconv.Itoa(f.total)), t.file(dir+"/sriov_numvfs", strconv.Itoa(f.vfs)))
	}
	if f.pf != "" {
		err = all(err, t.link(dir+"/physfn", pciDir(f.pf)), t.link(fmt.Sprintf("%s/virtfn%d", pciDir(f.pf), f.index), dir))
	}
	if f.group > 0 {
		group := "kernel/iommu_groups/" + strconv.Itoa(f.group)
		err = all(err, t.link(dir+"/iommu_group", group))
		if f.noIOMMU {
			err = all(err, t.file(group+"/name", "vfio-noiommu"))
		}
	}
	if f.uio != "" {
		err = all(err, t.file(dir+"/uio/"+f.uio+"/name", f.driver), t.link("class/uio/"+f.uio, dir+"/uio/"+f.uio))
	}
	return all(err, writeNet(t, dir, f.net), writeRDMA(t, dir, f.rdma))
}

func (s *subfunction) write(t tree) error {
	dir := pciDir(s.parent) + "/" + s.name
	err := all(
		t.link("bus/auxiliary/devices/"+s.name, dir),
		t.link(dir+"/driver", "bus/auxiliary/drivers/mlx5_core.sf"),
		writeNet(t, dir, s.net), writeRDMA(t, dir, s.rdma),
	)
	if !s.noNum {
		err = all(err, t.file(dir+"/sfnum", strconv.Itoa(s.num)))
	}
	return err
}

func writeNet(t tree, dir string, list []netdev) error {
	for i, n := range list {
		d := dir + "/net/" + n.name
		kind := "1"
		if n.infiniband {
			kind = "32"
		}
		err := all(
			t.link("class/net/"+n.name, d), t.link(d+"/device", dir),
			t.file(d+"/ifindex", strconv.Itoa(1000+i)), t.file(d+"/type", kind),
			t.file(d+"/address", "02:00:00:00:00:01"), t.file(d+"/mtu", "1500"), t.file(d+"/flags", "0x1003"), t.file(d+"/carrier", "1"),
		)
		if n.switchID != "" {
			err = all(err, t.file(d+"/phys_switch_id", n.switchID), t.file(d+"/phys_port_name", n.portName))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func writeRDMA(t tree, dir string, list []rdma) error {
	for _, r := range list {
		dir := dir
		if r.on != "" {
			dir = "devices/virtual"
		}
		d := dir + "/infiniband/" + r.name
		err := all(t.link("class/infiniband/"+r.name, d), t.file(d+"/node_guid", "0000:0000:0000:0001"),
			t.file(d+"/ports/1/pkeys/0", r.pkey))
		chars := [][2]string{{"infiniband_verbs", "uverbs"}, {"infiniband_mad", "umad"}, {"infiniband_mad", "issm"}}
		if r.ucm {
			chars = append(chars, [2]string{"infiniband_cm", "ucm"})
		}
		if r.on != "" {
			err = all(err, t.file(d+"/parent", r.on))
		}
		for _, c := range chars {
			class, name := c[0], c[1]+strconv.Itoa(r.number)
			err = all(err, t.link("class/"+class+"/"+name, dir+"/"+class+"/"+name), t.file(dir+"/"+class+"/"+name+"/ibdev", r.name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeDev makes the nodes below /dev. Neither program opens one; that they are
// there is enough.
func (m *machine) writeDev(dir string) error {
	var names []string
	for _, n := range []string{"vhost-net", "net/tun", "infiniband/rdma_cm", "vfio/vfio"} {
		if !m.lacks(filepath.Base(n)) {
			names = append(names, n)
		}
	}
	for i := range m.functions {
		f := &m.functions[i]
		if f.uio != "" {
			names = append(names, f.uio)
		}
		if f.group > 0 && strings.Contains(f.driver, "vfio") {
			name := "vfio/" + strconv.Itoa(f.group)
			if f.noIOMMU {
				name = "vfio/noiommu-" + strconv.Itoa(f.group)
			}
			names = append(names, name)
		}
	}
	for _, r := range m.rdmaDevices() {
		for _, stem := range []string{"uverbs", "umad", "issm"} {
			names = append(names, "infiniband/"+stem+strconv.Itoa(r.number))
		}
		if r.ucm {
			names = append(names, "infiniband/ucm"+strconv.Itoa(r.number))
		}
	}
	for _, n := range names {
		if err := (tree{dir}).file(n, ""); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) rdmaDevices() []rdma {
	var out []rdma
	for i := range m.functions {
		out = append(out, m.functions[i].rdma...)
	}
	for i := range m.sfs {
		out = append(out, m.sfs[i].rdma...)
	}
	return out
}

func (m *machine) netdevs() []netdev {
	var out []netdev
	for i := range m.functions {
		out = append(out, m.functions[i].net...)
	}
	for i := range m.sfs {
		out = append(out, m.sfs[i].net...)
	}
	return out
}
