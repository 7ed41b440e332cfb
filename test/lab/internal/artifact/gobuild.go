package artifact

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/archive"
)

// Program is a Go program that the lab runs.
type Program struct {
	Name    string
	Module  string // directory below test/lab/build, or empty for the lab's own
	Package string
	Version string // for the progress line
	LDFlags string
	Tags    string
	CGO     bool
	Dir     string // where Talos' root image has it, or empty
}

// Kubernetes' versions. A kubelet may be older than its API server and not newer
// (Kubernetes' version skew policy), so that the older version costs one more kubelet,
// and that only where a node asks for it.
const (
	KubeVersion = "v1.37.2" // the control plane, kubectl and the kubelet
	KubeletOld  = "v1.36.3"
)

// The modules under build/ require what they share in the versions that
// kubernetes-1.37 has, so that it is compiled once; containerd alone keeps its own
// k8s.io/cri-api, whose types have changed since. The older kubelet has the versions
// that it was released with.
const (
	etcdVersion       = "v3.6.7"
	containerdVersion = "v2.2.3"
	runcVersion       = "v1.4.2"
	cniVersion        = "v1.9.1"
	multusVersion     = "v4.3.0"
)

// kubernetes is a program of Kubernetes' version, from the module of its minor version.
func kubernetes(version, name, command string) Program {
	minor := strings.Split(strings.TrimPrefix(version, "v"), ".")[1]
	return Program{
		Name: name, Module: "kubernetes-1." + minor, Package: "k8s.io/kubernetes/cmd/" + command, Version: version,
		LDFlags: "-X k8s.io/component-base/version.gitVersion=" + version +
			" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=" + minor +
			" -X k8s.io/component-base/version.gitTreeState=clean" +
			" -X k8s.io/component-base/version.buildDate=2026-01-01T00:00:00Z",
	}
}

// hostPrograms are the control plane of a node, and what else runs on the host.
func hostPrograms() []Program {
	var ps []Program
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"} {
		ps = append(ps, kubernetes(KubeVersion, name, name))
	}
	return append(ps,
		Program{Name: "etcd", Module: "etcd", Package: "go.etcd.io/etcd/server/v3", Version: etcdVersion},
		Program{Name: "labfwd", Package: "./cmd/labfwd"})
}

// guestPrograms are what a node with a kubelet of that version runs beside Talos.
func guestPrograms(kubelet string) []Program {
	ps := []Program{kubernetes(kubelet, "kubelet-"+kubelet, "kubelet")}
	for _, name := range []string{"containerd", "containerd-shim-runc-v2"} {
		ps = append(ps, Program{
			Name: name, Module: "containerd", Package: "github.com/containerd/containerd/v2/cmd/" + name,
			Version: containerdVersion, LDFlags: "-X github.com/containerd/containerd/v2/version.Version=" + containerdVersion, Dir: "usr/bin",
		})
	}
	ps = append(ps, Program{
		Name: "runc", Module: "runc", Package: "github.com/opencontainers/runc", Version: runcVersion,
		CGO: true, Tags: "seccomp,netgo,osusergo", LDFlags: "-X main.version=" + strings.TrimPrefix(runcVersion, "v") + " -linkmode external -extldflags -static", Dir: "usr/bin",
	})
	for _, p := range []string{"main/bridge", "main/loopback", "ipam/host-local", "ipam/static"} {
		ps = append(ps, Program{
			Name: filepath.Base(p), Module: "cni", Package: "github.com/containernetworking/plugins/plugins/" + p,
			Version: cniVersion, Dir: "opt/cni/bin",
		})
	}
	return append(ps,
		Program{
			Name: "multus", Module: "multus", Package: "gopkg.in/k8snetworkplumbingwg/multus-cni.v4/cmd/multus",
			Version: multusVersion,
			LDFlags: "-X gopkg.in/k8snetworkplumbingwg/multus-cni.v4/pkg/multus.version=" + multusVersion,
		},
		Program{Name: "pause", Package: "./cmd/pause"})
}

// Kubernetes builds the programs of a control plane and a node of Kubernetes' newest
// version, for a node without Talos, and makes the images of its pods.
func (b *Builder) Kubernetes(ctx context.Context) ([]archive.Image, error) {
	unlock, err := b.Lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := b.buildPrograms(ctx, append(hostPrograms(), guestPrograms(KubeVersion)...)); err != nil {
		return nil, err
	}
	return b.podImages(ctx)
}

// Kubelet is the name of the program of Kubernetes' newest kubelet.
const Kubelet = "kubelet-" + KubeVersion

// Bin is where the programs are.
func (b *Builder) Bin(name string) string { return b.bin(arch.Host, name) }

func (b *Builder) bin(a arch.Arch, name string) string {
	return filepath.Join(b.Out, a.Name("bin"), name)
}

// toolchain is the version of Go as it is used for the lab's module.
func (b *Builder) toolchain(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION")
	cmd.Dir = b.Lab
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go env GOVERSION: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// buildPrograms builds those that are not built yet and returns each program's key.
func (b *Builder) buildPrograms(ctx context.Context, programs []Program) (map[string]string, error) {
	if runtime.GOARCH != string(arch.Host) {
		return nil, fmt.Errorf("the lab runs on %s, this machine is %s: not supported", arch.Host, runtime.GOARCH)
	}
	goVersion, err := b.toolchain(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(b.Bin(""), 0o755); err != nil {
		return nil, fmt.Errorf("make directory for programs: %w", err)
	}
	keys := map[string]string{}
	for _, p := range programs {
		key, err := b.programKey(p, goVersion)
		if err != nil {
			return nil, err
		}
		keys[p.Name] = key.String()
		what := strings.TrimSpace("building " + p.Name + " " + p.Version)
		if err := b.step(what, "bin-"+p.Name, key, []string{b.Bin(p.Name)}, func() error { return b.goBuild(ctx, arch.Host, p) }); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func (b *Builder) moduleDir(p Program) string {
	if p.Module == "" {
		return b.Lab
	}
	return filepath.Join(b.Lab, "build", p.Module)
}

// uses names the lab's own packages that its programs are built from.
var uses = map[string][]string{
	"labagent": {"agentd", "wire"},
}

func (b *Builder) programKey(p Program, goVersion string) (Key, error) {
	var k Key
	k.Add(goVersion, fmt.Sprintf("%+v", p))
	dir := b.moduleDir(p)
	if err := k.File(filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")); err != nil {
		return k, err
	}
	source := func(path string) bool { return strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") }
	var trees []string
	switch {
	case p.Module == "":
		trees = []string{filepath.Join(dir, p.Package)}
		for _, d := range uses[p.Name] {
			trees = append(trees, filepath.Join(dir, "internal", d))
		}
	case strings.HasPrefix(p.Package, "."):
		trees = []string{filepath.Join(dir, p.Package)}
	}
	for _, t := range trees {
		if err := k.Tree(t, source); err != nil {
			return k, err
		}
	}
	return k, nil
}

func (b *Builder) goBuild(ctx context.Context, a arch.Arch, p Program) error {
	// The caller's own Go settings must not change what is built.
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + string(a), "GOFLAGS=", "GOWORK=off"}
	if p.CGO {
		env = append(env, "CGO_ENABLED=1")
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", strings.TrimSpace("-s -w -buildid= " + p.LDFlags), "-o", b.bin(a, p.Name)}
	if p.Tags != "" {
		args = append(args, "-tags", p.Tags)
	}
	return command(ctx, b.moduleDir(p), env, "go", append(args, p.Package)...)
}
