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

// agentRoot is where Talos has the root of the lab's extension.
const agentRoot = "/usr/local/lib/containers/labagent"

// agentPrograms are Debian's programs for scripts, by their names: busybox' ip does not
// know VFs, and its shell takes no other.
var agentPrograms = map[string]string{"ip": "bin/ip", "rdma": "usr/bin/rdma", "sh": "bin/dash"}

// agentWrapper calls one of them with its own loader and libraries: Talos' root has
// neither in their places.
const agentWrapper = "#!" + agentRoot + "/bin/busybox sh\nexec " + agentRoot + "/lib/%s --library-path " + agentRoot + "/lib " + agentRoot + "/lib/%s \"$@\"\n"

// ownProc calls a program with a /proc of its PID namespace, which is not the node's: a
// program that looks itself up there finds nothing in Talos' own.
const ownProc = "#!" + agentRoot + "/bin/busybox sh\nexec unshare -m " + agentRoot + "/bin/busybox sh -c 'mount -t proc proc /proc && exec \"$@\"' sh \"$@\"\n"

// agentPrograms puts them below root.
func (r rootTree) agentPrograms(userland, root string) error {
	if err := r.write(root+"bin/ownproc", []byte(ownProc), 0o755); err != nil {
		return err
	}
	var files []string
	for name, from := range agentPrograms {
		src := filepath.Join(userland, from)
		if err := r.copy(src, root+"lib/"+name); err != nil {
			return err
		}
		if err := r.write(root+"bin/"+name, fmt.Appendf(nil, agentWrapper, loader, name), 0o755); err != nil {
			return err
		}
		files = append(files, src)
	}
	libs, err := libraries(userland, files...)
	if err != nil {
		return err
	}
	for name, from := range libs {
		if err := r.copy(from, root+"lib/"+name); err != nil {
			return err
		}
	}
	return nil
}

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
	userland, userlandKey, err := b.buildUserland(ctx)
	if err != nil {
		return "", err
	}
	bb, err := tool("busybox")
	if err != nil {
		return "", err
	}
	var key Key
	key.Add("2", userlandKey, fmt.Sprint(agentPrograms), agentWrapper, ownProc, keys[p.Name], string(agentService), string(agentManifest))
	if err := key.Stat(bb); err != nil {
		return "", err
	}
	const name = "labagent"
	dir := filepath.Join(b.Out, name)
	return dir, b.step("making the extension "+name, name, key, []string{dir}, func() error {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		r := rootTree{b: b, dir: dir}
		const root = "rootfs" + agentRoot + "/"
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
			if agentPrograms[a] != "" {
				continue
			}
			if err := os.Symlink("busybox", r.path(root+"bin/"+a)); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		if err := r.agentPrograms(userland, root); err != nil {
			return err
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
