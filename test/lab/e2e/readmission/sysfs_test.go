package readmission

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// makeSysfs makes what sysfs shows of a PF with VFs that have the driver iavf.
func makeSysfs(t *testing.T, root string, vfs int) {
	t.Helper()
	file := func(name, content string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(name, target string) {
		t.Helper()
		path := filepath.Join(root, name)
		rel, err := filepath.Rel(filepath.Dir(path), filepath.Join(root, target))
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.MkdirAll(filepath.Join(root, target), 0o755), os.Symlink(rel, path)); err != nil {
			t.Fatal(err)
		}
	}
	function := func(i int, device, driver, netdev string) string {
		t.Helper()
		addr := fmt.Sprintf("0000:01:%02x.%d", i/8, i%8)
		dir := "devices/pci0000:01/" + addr
		file(dir+"/vendor", "0x8086")
		file(dir+"/device", "0x"+device)
		file(dir+"/class", "0x020000")
		file(dir+"/numa_node", "0")
		file(dir+"/uevent", "DRIVER="+driver+"\nPCI_CLASS=20000\nPCI_ID=8086:"+device+"\nPCI_SLOT_NAME="+addr)
		link("bus/pci/devices/"+addr, dir)
		link(dir+"/driver", "bus/pci/drivers/"+driver)
		link(dir+"/iommu_group", fmt.Sprintf("kernel/iommu_groups/%d", i+1))
		net := dir + "/net/" + netdev
		for name, value := range map[string]string{
			"ifindex": fmt.Sprint(i + 2), "address": fmt.Sprintf("02:00:00:00:00:%02x", i), "mtu": "1500", "flags": "0x1003", "type": "1", "carrier": "1",
		} {
			file(net+"/"+name, value)
		}
		link("class/net/"+netdev, net)
		link(net+"/device", dir)
		return dir
	}
	pf := function(0, "1593", "ice", "ens1f0")
	file(pf+"/sriov_totalvfs", fmt.Sprint(vfs))
	file(pf+"/sriov_numvfs", fmt.Sprint(vfs))
	for i := range vfs {
		vf := function(i+1, "1889", "iavf", fmt.Sprintf("ens1f0v%d", i))
		link(vf+"/physfn", pf)
		link(fmt.Sprintf("%s/virtfn%d", pf, i), vf)
	}
}
