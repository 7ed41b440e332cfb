package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/archive"
)

// installerPrograms are Debian's programs that Talos' installer calls.
var installerPrograms = []string{"usr/sbin/grub-install"}

// InstallerBase is the image of Talos' installer that has nothing to install yet.
func (b *Builder) InstallerBase(ctx context.Context, t Talos) (archive.Image, error) {
	// The imager adds compressed layers, and a reader takes the first for all.
	out := archive.Image{Name: "ghcr.io/siderolabs/installer-base:" + t.Version, Command: []string{"/bin/installer"}, Gzip: true}
	p := t.program("installer", talosSource+"cmd/installer", "")
	if _, err := b.buildPrograms(ctx, []Program{p}); err != nil {
		return out, err
	}
	packages, _, err := b.fetchPackages(ctx, "installer")
	if err != nil {
		return out, err
	}
	files := map[string]string{"bin/installer": b.Bin(p.Name)}
	var programs []string
	for _, p := range installerPrograms {
		files[p] = filepath.Join(packages, p)
		programs = append(programs, files[p])
	}
	libs, err := libraries(packages, programs...)
	if err != nil {
		return out, err
	}
	for name, from := range libs {
		dir := "lib/" + triplet
		if strings.HasPrefix(name, "ld-linux") {
			dir = "lib64"
		}
		files[filepath.Join(dir, name)] = from
	}
	for to, from := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			return out, err
		}
		out.Files = append(out.Files, archive.Entry{Name: to, Mode: archive.ModeFile | 0o755, Data: data})
	}
	grub, err := tree(packages, "usr/lib/grub/i386-pc")
	out.Files = append(out.Files, grub...)
	return out, err
}

// tree are the files below a directory of root, by their names in root.
func tree(root, dir string) ([]archive.Entry, error) {
	var out []archive.Entry
	return out, filepath.WalkDir(filepath.Join(root, dir), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		e := archive.Entry{Name: name, Mode: uint32(fi.Mode().Perm())}
		switch {
		case d.IsDir():
			e.Mode |= archive.ModeDir
		case d.Type() == fs.ModeSymlink:
			e.Mode |= archive.ModeLink
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			e.Data = []byte(to)
		default:
			e.Mode |= archive.ModeFile
			if e.Data, err = os.ReadFile(p); err != nil {
				return err
			}
		}
		out = append(out, e)
		return nil
	})
}

// Installer lets Talos' imager make an installer's image of that machine, as an archive
// in dir, from the image base. What it installs starts with that command line. The
// extensions are in the machine's initramfs already: the imager's own way needs newer
// squashfs-tools than Debian 12 has.
func (b *Builder) Installer(ctx context.Context, m TalosImage, dir, base, commandLine string) (string, error) {
	packages, _, err := b.fetchPackages(ctx, "installer")
	if err != nil {
		return "", err
	}
	// The imager takes no stub that has symbols, as Debian 12's does.
	efi, stub := filepath.Join(packages, "usr/lib/systemd/boot/efi"), filepath.Join(dir, "stub")
	defer os.Remove(stub)
	objcopy, err := tool("objcopy")
	if err != nil {
		return "", err
	}
	if err := command(ctx, "", nil, objcopy, "--strip-all", filepath.Join(efi, "linuxx64.efi.stub"), stub); err != nil {
		return "", err
	}
	type object map[string]any
	path := func(p string) object { return object{"path": p} }
	profile, err := json.Marshal(object{
		"arch": "amd64", "platform": "metal", "secureboot": false, "version": m.Version,
		// The imager's own enforces signatures, which no later argument undoes.
		"customization": object{"extraKernelArgs": append([]string{"-module.sig_enforce"}, strings.Fields(commandLine)...)},
		"input": object{
			"kernel": path(m.Kernel), "initramfs": path(m.Initramfs), "sdStub": path(stub), "sdBoot": path(filepath.Join(efi, "systemd-bootx64.efi")),
			"baseInstaller": object{"imageRef": base, "forceInsecure": true},
		},
		"output": object{"kind": "installer", "outFormat": "raw"},
	})
	if err != nil {
		return "", fmt.Errorf("write the imager's profile: %w", err)
	}
	// One program is the installer and, by its name, the imager.
	cmd := exec.CommandContext(ctx, b.Bin(m.Program("installer")))
	cmd.Args = []string{"imager", "-", "--output", dir}
	cmd.Stdin = bytes.NewReader(profile)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("imager: %w\n%s", err, out)
	}
	return filepath.Join(dir, "installer-amd64.tar"), nil
}
