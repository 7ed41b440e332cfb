package artifact

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

var (
	//go:embed files/labagent.yaml
	agentService []byte
	//go:embed files/labagent-manifest.yaml
	agentManifest []byte
)

// Agent lays out the extension by which the lab runs scripts on Talos, and returns its
// directory.
func (b *Builder) Agent(ctx context.Context) (string, error) {
	unlock, err := b.Lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	p := Program{Name: "labagent", Package: "./cmd/labagent"}
	keys, err := b.buildPrograms(ctx, []Program{p})
	if err != nil {
		return "", err
	}
	bb, err := tool("busybox")
	if err != nil {
		return "", err
	}
	var key Key
	key.Add("1", keys[p.Name], string(agentService), string(agentManifest))
	if err := key.Stat(bb); err != nil {
		return "", err
	}
	dir := filepath.Join(b.Out, "labagent")
	return dir, b.step("making the extension labagent", "labagent", key, []string{dir}, func() error {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		r := rootTree{b: b, dir: dir}
		const root = "rootfs/usr/local/lib/containers/labagent/"
		if err := r.copy(b.Bin(p.Name), root+"labagent"); err != nil {
			return err
		}
		if err := r.copy(bb, root+"bin/busybox"); err != nil {
			return err
		}
		applets, err := busyboxApplets(ctx)
		if err != nil {
			return err
		}
		for _, a := range applets {
			if err := os.Symlink("busybox", r.path(root+"bin/"+a)); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		for _, d := range []string{"proc", "sys", "dev", "host/proc", "host/dev"} {
			if err := os.MkdirAll(r.path(root+d), 0o755); err != nil {
				return fmt.Errorf("make directory: %w", err)
			}
		}
		if err := r.write("rootfs/usr/local/etc/containers/labagent.yaml", agentService, 0o644); err != nil {
			return err
		}
		return r.write("manifest.yaml", agentManifest, 0o644)
	})
}
