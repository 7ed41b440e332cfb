package artifact

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/archive"
)

// busyboxApplets are busybox' names.
func busyboxApplets(ctx context.Context) ([]string, error) {
	bb, err := tool("busybox")
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, bb, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// The names of the images that pods may use.
const (
	PauseImage   = "registry.k8s.io/pause:3.10"
	BusyboxImage = "docker.io/library/busybox:1.35"
)

// podImages are the images of pods: pause and busybox.
func (b *Builder) podImages(ctx context.Context) ([]archive.Image, error) {
	pause, err := os.ReadFile(b.Bin("pause"))
	if err != nil {
		return nil, err
	}
	busybox, err := b.busyboxFiles(ctx)
	if err != nil {
		return nil, err
	}
	return []archive.Image{
		{Name: PauseImage, Command: []string{"/pause"}, Files: []archive.Entry{{Name: "pause", Mode: archive.ModeFile | 0o755, Data: pause}}},
		{Name: BusyboxImage, Command: []string{"sh"}, Env: []string{"PATH=/bin"}, Files: busybox},
	}, nil
}

// busyboxFiles are busybox and its names in bin, and what a program expects besides.
func (b *Builder) busyboxFiles(ctx context.Context) ([]archive.Entry, error) {
	bb, err := tool("busybox")
	if err != nil {
		return nil, err
	}
	busybox, err := os.ReadFile(bb)
	if err != nil {
		return nil, err
	}
	applets, err := busyboxApplets(ctx)
	if err != nil {
		return nil, err
	}
	files := []archive.Entry{
		{Name: "bin", Mode: archive.ModeDir | 0o755},
		{Name: "bin/busybox", Mode: archive.ModeFile | 0o755, Data: busybox},
		{Name: "etc", Mode: archive.ModeDir | 0o755},
		{Name: "etc/passwd", Mode: archive.ModeFile | 0o644, Data: []byte("root:x:0:0:root:/root:/bin/sh\n")},
		{Name: "root", Mode: archive.ModeDir | 0o755},
		{Name: "tmp", Mode: archive.ModeDir | 0o777},
	}
	for _, a := range applets {
		if a != "busybox" {
			files = append(files, archive.Entry{Name: "bin/" + a, Mode: archive.ModeLink | 0o777, Data: []byte("busybox")})
		}
	}
	return files, nil
}
