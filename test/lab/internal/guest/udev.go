package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/netname"
)

// udev does the two things that Talos' udevd does for us: it loads the module
// of a device that appears, and it gives network interfaces their predictable
// names. A driver on the list of exceptions is not loaded.
type udev struct {
	reap *reaper
	ev   *events
	conf string // modprobe configuration directory, with the exceptions
}

// newUdev subscribes to kernel events before it reads what is there, so that
// no device falls between the two.
func newUdev(reap *reaper, ev *events, except []string) (*udev, int, error) {
	u := &udev{reap: reap, ev: ev, conf: "/run/lab/modprobe.d"}
	if err := os.MkdirAll(u.conf, 0o755); err != nil {
		return nil, 0, err
	}
	var b strings.Builder
	for _, m := range except {
		fmt.Fprintf(&b, "blacklist %s\n", m)
	}
	if err := os.WriteFile(u.conf+"/lab.conf", []byte(b.String()), 0o644); err != nil {
		return nil, 0, err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, 0, fmt.Errorf("uevent socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		return nil, 0, fmt.Errorf("uevent socket buffer: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return nil, 0, fmt.Errorf("bind uevent socket: %w", err)
	}
	return u, fd, nil
}

// coldplug handles the devices that the kernel found by itself.
func (u *udev) coldplug(ctx context.Context) error {
	// Twice: the virtio drivers' bus appears with the modules of the first round.
	for range 2 {
		files, _ := filepath.Glob("/sys/bus/*/devices/*/modalias")
		var aliases []string
		for _, f := range files {
			// A device that has its driver needs no module.
			if _, err := os.Stat(filepath.Join(filepath.Dir(f), "driver")); err == nil {
				continue
			}
			b, err := os.ReadFile(f)
			if a := strings.TrimSpace(string(b)); err == nil && a != "" && !slices.Contains(aliases, a) {
				aliases = append(aliases, a)
			}
		}
		u.modprobe(ctx, aliases...)
	}
	names, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return err
	}
	for _, n := range names {
		u.rename(n.Name())
	}
	return nil
}

func (u *udev) modprobe(ctx context.Context, names ...string) {
	if len(names) == 0 {
		return
	}
	args := append([]string{"-C", u.conf, "-q", "-a", "-b"}, names...)
	// Most devices have no module in the image: that is not an error.
	_, _ = u.reap.run(ctx, "/usr/sbin/modprobe", args...)
}

// run handles events until the context ends. It never returns before.
func (u *udev) run(ctx context.Context, fd int) {
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			if !errors.Is(err, unix.EINTR) {
				u.ev.add("udev-lost-events", "%v", err)
			}
			continue
		}
		env := map[string]string{}
		for _, f := range bytes.Split(buf[:n], []byte{0}) {
			if k, v, ok := strings.Cut(string(f), "="); ok {
				env[k] = v
			}
		}
		if env["ACTION"] != "add" {
			continue
		}
		if a := env["MODALIAS"]; a != "" {
			if _, err := os.Stat("/sys" + env["DEVPATH"] + "/driver"); err != nil {
				u.modprobe(ctx, a)
			}
		}
		if env["SUBSYSTEM"] == "net" {
			u.rename(env["INTERFACE"])
		}
	}
}

// rename gives one interface its predictable name.
func (u *udev) rename(have string) {
	want, err := predictable(have)
	if err != nil || want == "" || want == have {
		return
	}
	if err := setName(have, want); err != nil {
		u.ev.add("udev-rename-failed", "%s to %s: %v", have, want, err)
		return
	}
	u.ev.add("udev-rename", "%s to %s", have, want)
}

// predictable reads from sysfs what the name is made of. It is empty for an
// interface that is not of a PCI device.
func predictable(name string) (string, error) {
	dir, err := filepath.EvalSymlinks("/sys/class/net/" + name + "/device")
	if err != nil {
		return "", nil
	}
	// A virtio interface sits below its PCI function.
	for !isPCI(dir) {
		if dir = filepath.Dir(dir); dir == "/" {
			return "", nil
		}
	}
	d := netname.Device{Address: filepath.Base(dir), VF: -1}
	if pf, err := filepath.EvalSymlinks(filepath.Join(dir, "physfn")); err == nil {
		links, _ := filepath.Glob(filepath.Join(pf, "virtfn*"))
		for _, l := range links {
			if t, err := filepath.EvalSymlinks(l); err == nil && t == dir {
				d.VF, err = strconv.Atoi(strings.TrimPrefix(filepath.Base(l), "virtfn"))
				if err != nil {
					return "", err
				}
			}
		}
		d.Address = filepath.Base(pf)
	}
	slot, _, _ := strings.Cut(d.Address, ".")
	if siblings, _ := filepath.Glob("/sys/bus/pci/devices/" + slot + ".*"); len(siblings) > 1 {
		d.MultiFunction = true
	}
	if b, err := os.ReadFile("/sys/class/net/" + name + "/phys_port_name"); err == nil {
		d.PortName = strings.TrimSpace(string(b))
	}
	return d.Name()
}

func isPCI(dir string) bool {
	s, err := filepath.EvalSymlinks(filepath.Join(dir, "subsystem"))
	return err == nil && filepath.Base(s) == "pci"
}

func setName(have, want string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// struct ifreq: the name, then a union that holds the new name.
	var ifr [40]byte
	copy(ifr[:unix.IFNAMSIZ-1], have)
	copy(ifr[unix.IFNAMSIZ:2*unix.IFNAMSIZ-1], want)
	return ioctl(fd, unix.SIOCSIFNAME, ifr[:])
}

// ethernets lists the interfaces of PCI devices; VFs only if asked for.
func ethernets(vfs bool) ([]string, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, i := range ifs {
		dir := "/sys/class/net/" + i.Name + "/device"
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if _, err := os.Stat(dir + "/physfn"); err == nil && !vfs {
			continue
		}
		names = append(names, i.Name)
	}
	return names, nil
}
