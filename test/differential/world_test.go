package differential

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Directories of the world that the programs run in.
const (
	kubeletDir = "/var/lib/kubelet"
	stateDir   = "/var/lib/sriov"
	infoDir    = "/run/k8s.cni.cncf.io/devinfo/dp"
	cdiDir     = "/run/cdi"
)

// build makes this process's mount and network namespace the machine's. The
// process must be alone in both. What it returns must stay open: an interface
// goes with its file.
func (m *machine) build() ([]*os.File, error) {
	files, err := m.interfaces()
	if err != nil {
		return nil, err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	for _, dir := range []string{"/sys", "/dev", "/run", "/var/lib"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return nil, fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	if err := unix.Mknod("/dev/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		return nil, fmt.Errorf("make /dev/null: %w", err)
	}
	if _, err := os.Lstat("/var/run"); err != nil {
		return nil, fmt.Errorf("/var/run must be a link to /run: %w", err)
	}
	return files, all(m.writeSysfs("/sys"), m.writeDev("/dev"), clean())
}

// clean empties what a program may have written.
func clean() error {
	for _, dir := range []string{kubeletDir, stateDir, "/run"} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	// The other program expects the runtime's directory.
	for _, dir := range []string{kubeletDir + "/device-plugins", stateDir, infoDir, cdiDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// interfaces makes a tap interface for each of the machine's. They are up and
// have a carrier.
func (m *machine) interfaces() ([]*os.File, error) {
	runtime.LockOSThread() // of the namespace
	var files []*os.File
	for _, n := range m.netdevs() {
		tap := &netlink.Tuntap{LinkAttrs: netlink.NewLinkAttrs(), Mode: netlink.TUNTAP_MODE_TAP, NonPersist: true, Queues: 1}
		tap.Name = n.name
		if err := netlink.LinkAdd(tap); err != nil {
			return nil, fmt.Errorf("make interface %s: %w", n.name, err)
		}
		files = append(files, tap.Fds...)
		if n.infiniband {
			if err := unix.IoctlSetInt(int(tap.Fds[0].Fd()), unix.TUNSETLINK, unix.ARPHRD_INFINIBAND); err != nil {
				return nil, fmt.Errorf("make %s InfiniBand: %w", n.name, err)
			}
		}
		link, err := netlink.LinkByName(n.name)
		if err != nil {
			return nil, err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return nil, fmt.Errorf("bring %s up: %w", n.name, err)
		}
		if n.alt != "" {
			if err := netlink.LinkAddAltName(link, n.alt); err != nil {
				return nil, fmt.Errorf("name %s %s too: %w", n.name, n.alt, err)
			}
		}
		if n.name != m.route {
			continue
		}
		addr, err := netlink.ParseAddr(m.address)
		if err != nil {
			return nil, err
		}
		gateway := append(net.IP(nil), addr.IP.To4()...)
		gateway[3] = 1
		if err := all(netlink.AddrAdd(link, addr), netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway})); err != nil {
			return nil, fmt.Errorf("give %s the default route: %w", n.name, err)
		}
	}
	return files, nil
}
