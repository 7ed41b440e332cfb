package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/cluster"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/qemu"
)

// bootPath is where the node finds what goes on its BOOT partition.
const bootPath = "/boot/"

// serveBoot serves the files of the BOOT partition: what QEMU has loaded, and GRUB's
// configuration for it, in the form that Talos reads.
func (n *Node) serveBoot(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path[len(bootPath):] {
	case "A/vmlinuz":
		http.ServeFile(w, r, n.machine.Kernel)
	case "A/initramfs.xz":
		http.ServeFile(w, r, n.machine.Initramfs)
	case "grub/grub.cfg":
		fmt.Fprintf(w, `set default="A - Talos %[1]s"
set timeout=3

menuentry "A - Talos %[1]s" {
  set gfxmode=auto
  set gfxpayload=text
  linux /A/vmlinuz %[2]s
  initrd /A/initramfs.xz
}
`, n.img.Version, n.machine.CommandLine())
	default:
		http.NotFound(w, r)
	}
}

// InstallBootLoader fills the BOOT partition as Talos' installer does, without GRUB
// itself, which would be for the firmware: a power cycle is up to QEMU. From then on
// Talos reboots by kexec, unless it is asked not to.
func (n *Node) InstallBootLoader(ctx context.Context) error {
	_, err := n.Exec(ctx, fmt.Sprintf(`set -e
disk=/dev/disk/by-partlabel/BOOT boot=/run/lab-boot
mkfs.xfs -q -f -c options=/usr/share/xfsprogs/mkfs/lts_6.12.conf -L BOOT $disk
mkdir -p $boot && mount -t xfs $disk $boot && mkdir $boot/A $boot/grub
for f in A/vmlinuz A/initramfs.xz grub/grub.cfg; do wget -q -O $boot/$f http://%s:%d%s$f; done
umount $boot`, qemu.Host, configPort, bootPath))
	if err != nil {
		return fmt.Errorf("fill the BOOT partition: %w", err)
	}
	return nil
}

// Kexec reboots as `talosctl reboot` does by default, and waits until the node is Ready
// again: Talos starts the kernel of the boot loader itself. See InstallBootLoader.
func (n *Node) Kexec(ctx context.Context) error {
	return n.kexec(ctx, "reboot", "--wait=false")
}

// Installer makes an image for Upgrade, by Talos' own imager, and gives its name. It has
// these extensions in the place of the node's.
func (n *Node) Installer(ctx context.Context, tag string, extensions []string) (string, error) {
	hand, err := n.b.Agent(ctx)
	if err != nil {
		return "", err
	}
	machine, err := n.b.Talos(ctx, n.img.Version, append([]string{hand}, extensions...))
	if err != nil {
		return "", err
	}
	unlock, err := n.b.Lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	base, err := n.b.InstallerBase(ctx, n.img.Talos)
	if err != nil {
		return "", fmt.Errorf("make Talos' installer: %w", err)
	}
	if err := n.registry.Push(ctx, base); err != nil {
		return "", err
	}
	file, err := n.b.Installer(ctx, machine, n.dir, n.registry.Ref(base.Name), n.machine.CommandLine())
	if err != nil {
		return "", fmt.Errorf("make an installer's image: %w", err)
	}
	defer os.Remove(file)
	name := "ghcr.io/siderolabs/installer:" + tag
	return name, n.registry.PushArchive(ctx, name, file)
}

// Upgrade installs an image and starts it, as `talosctl upgrade` does, without the
// draining of the node, for which talosctl asks the node where the API server is.
func (n *Node) Upgrade(ctx context.Context, image string) error {
	return n.kexec(ctx, "upgrade", "--image="+image, "--drain=false", "--wait=false")
}

// Rollback starts what was there before the upgrade, as `talosctl rollback` does.
func (n *Node) Rollback(ctx context.Context) error { return n.kexec(ctx, "rollback") }

// kexec is a command of talosctl that ends in another kernel, in the same machine.
func (n *Node) kexec(ctx context.Context, args ...string) error {
	ctx, cancel := cluster.WithDefault(ctx, bootTimeout)
	defer cancel()
	vm := n.vm
	if _, err := n.Talosctl(ctx, args...); err != nil {
		return err
	}
	// A reset, which Talos falls back to, ends QEMU, and so the wait.
	if err := n.awaitReady(ctx, n.boot); err != nil {
		return err
	}
	if n.vm != vm {
		return errors.New("QEMU was started again: that was no kexec")
	}
	return nil
}
