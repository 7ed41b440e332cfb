package artifact

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed files/stub.yaml
var stubService []byte

// Stub lays out the extension with which the lab tests itself, and returns the
// directory of its root filesystem.
func (b *Builder) Stub(ctx context.Context) (string, error) {
	unlock, err := b.Lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	goVersion, err := b.toolchain(ctx)
	if err != nil {
		return "", err
	}
	p := Program{Name: "labstub", Package: "./cmd/labstub"}
	key, err := b.programKey(p, goVersion)
	if err != nil {
		return "", err
	}
	key.Add(string(stubService))
	root := filepath.Join(b.Out, "stub/rootfs")
	if err := os.MkdirAll(b.Bin(""), 0o755); err != nil {
		return "", fmt.Errorf("make directory for programs: %w", err)
	}
	return root, b.step("building the stub extension", "stub", key, []string{root}, func() error {
		if err := b.goBuild(ctx, p); err != nil {
			return err
		}
		exe, err := os.ReadFile(b.Bin(p.Name))
		if err != nil {
			return err
		}
		r := rootTree{b: b, dir: root}
		if err := r.write("usr/local/lib/containers/stub/labstub", exe, 0o755); err != nil {
			return err
		}
		return r.write("usr/local/etc/containers/stub.yaml", stubService, 0o644)
	})
}
