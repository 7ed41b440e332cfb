package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
)

// A host that is about to go down stops the kubelet, unmounts /var while the
// service still runs, and then wants the disk for itself (to close LUKS, to wipe
// it). The test is such a host, in a mount namespace of its own, and starts the
// service in another one with the mounts of its spec, as a container runtime does.

const (
	hostEnv      = "SRIOVD_TEST_HOST"    // the order of the start: this process is the host
	containerEnv = "SRIOVD_TEST_MOUNTS"  // the host's root and the container's, for service
	programEnv   = "SRIOVD_TEST_PROGRAM" // the built sriovd
	rootEnv      = "SRIOVD_TEST_ROOT"    // set when the host may make loop devices
	orderBefore  = "before /var is mounted"
	orderAfter   = "after /var is mounted"
)

func TestUnmountVar(t *testing.T) {
	if os.Getenv(containerEnv) != "" {
		t.Fatal(inContainer()) // else it does not come back
	}
	if order := os.Getenv(hostEnv); order != "" {
		unmountVar(t, order)
		return
	}
	program := buildDaemon(t)
	for _, order := range []string{orderBefore, orderAfter} {
		t.Run(order, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestUnmountVar$", "-test.v")
			cmd.Env = append(os.Environ(), hostEnv+"="+order, programEnv+"="+program)
			if os.Getuid() == 0 {
				cmd.Env = append(cmd.Env, rootEnv+"=1")
			}
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET}
			if os.Getuid() != 0 {
				cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
				cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
				cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
			}
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

const unmountDocument = `apiVersion: v1alpha1
kind: SRIOVConfig
resourceList:
  - resourceName: vf
    resourcePrefix: example.com
    selectors: {vendors: ["8086"], devices: ["10ca"]}
`

// must fails the test at the first error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// host is the host's side: its root, and the disk below /var.
type host struct {
	t    *testing.T
	root string
	disk string // the block device; "" where there is none
}

func newHost(t *testing.T) *host {
	base := kubelettest.Dir(t)
	h := &host{t: t, root: filepath.Join(base, "r")}
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), os.Mkdir(h.root, 0o755))
	h.mount("tmpfs", "tmpfs", "", "")
	for _, dir := range []string{"var", "opt", "run", "dev", "system/overlays/extensions/sriov"} {
		must(t, os.MkdirAll(h.at(dir), 0o755))
	}
	h.mount("tmpfs", "tmpfs", "run", "")
	// The kubelet, which is this process, sees the host's /run at /run.
	must(t,
		unix.Mount(h.at("run"), "/run", "", unix.MS_BIND, ""),
		os.WriteFile(h.at("system/overlays/extensions/sriov/etc-sriov-config.yaml"), []byte(unmountDocument), 0o600),
		os.MkdirAll(filepath.Join(base, "sys/bus/pci/devices"), 0o755))
	// As long as /var is not mounted it is a directory of the read-only root.
	must(t, unix.Mount("", h.root, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	h.makeDisk(filepath.Join(base, "disk.img"))
	return h
}

func (h *host) at(path string) string { return filepath.Join(h.root, path) }

// mount mounts as Talos does: shared.
func (h *host) mount(source, fstype, at, data string) {
	h.t.Helper()
	must(h.t, unix.Mount(source, h.at(at), fstype, 0, data), unix.Mount("", h.at(at), "", unix.MS_SHARED, ""))
}

// makeDisk makes a disk with a filesystem. Without root there is none.
func (h *host) makeDisk(image string) {
	h.t.Helper()
	if os.Getenv(rootEnv) == "" {
		h.t.Log("NOT CHECKED without root: whether the disk can be opened exclusively; /var is a tmpfs")
		return
	}
	must(h.t, os.WriteFile(image, nil, 0o600), os.Truncate(image, 16<<20))
	if out, err := exec.CommandContext(h.t.Context(), "mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		h.t.Fatalf("mkfs.ext4 (package e2fsprogs): %v: %s", err, out)
	}
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	must(h.t, err)
	defer f.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	must(h.t, err)
	defer control.Close()
	for range 64 { // somebody else may take the free one first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		must(h.t, err)
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		must(h.t, err)
		err = unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, int(f.Fd()))
		if err == nil {
			h.disk = loop.Name()
			h.t.Cleanup(func() {
				_ = unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_CLR_FD, 0)
				_ = loop.Close()
			})
			return
		}
		_ = loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			h.t.Fatal(err)
		}
	}
	h.t.Fatal("no free loop device in 64 tries")
}

// mountVar mounts /var, and /opt's overlay with its upper directory on it.
func (h *host) mountVar() {
	h.t.Helper()
	if h.disk == "" {
		h.mount("tmpfs", "tmpfs", "var", "")
	} else {
		h.mount(h.disk, "ext4", "var", "")
	}
	must(h.t, os.MkdirAll(h.at("var/overlays/upper"), 0o755), os.MkdirAll(h.at("var/overlays/work"), 0o755))
	h.mount("overlay", "overlay", "opt", fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,userxattr", h.at("opt"), h.at("var/overlays/upper"), h.at("var/overlays/work")))
}

// until polls, and fails the test with the last of what is missing.
func until(t *testing.T, what string, try func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not in 20 s: %v", what, err)
		}
	}
}

func unmountVar(t *testing.T, order string) {
	h := newHost(t)
	if order == orderAfter {
		h.mountVar()
	}
	log := h.startService()
	until(t, "the service reads its config", func() error {
		if !strings.Contains(log.String(), "present=true") {
			return errors.New("it has not")
		}
		return nil
	})
	if order == orderBefore {
		h.mountVar()
	}
	k := kubelettest.New(t, h.at("var/lib/kubelet"))
	k.Start()
	k.Wait("example.com/vf", "a list", func(r kubelettest.Resource) bool { return r.Connected && r.Lists > 0 })
	until(t, "the status file", func() error {
		_, err := os.Stat(h.at("var/lib/sriov/status.yaml"))
		return err
	})
	k.Stop()
	for _, dir := range []string{"opt", "var"} {
		until(t, "unmount /"+dir, func() error { return unix.Unmount(h.at(dir), 0) })
	}
	if h.disk != "" {
		until(t, "open the disk exclusively", func() error {
			fd, err := unix.Open(h.disk, unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
			if err == nil {
				err = unix.Close(fd)
			}
			return err
		})
	}
}

// startService starts the service and returns its log. It is stopped when the
// test ends, and must have run until then.
func (h *host) startService() *logBuffer {
	h.t.Helper()
	log := &logBuffer{}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^TestUnmountVar$")
	cmd.Env = append(os.Environ(), containerEnv+"="+h.root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	cmd.Stderr = log
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	must(h.t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	h.t.Cleanup(func() {
		select {
		case err := <-done:
			h.t.Errorf("the service ended by itself: %v", err)
		default:
			cancel()
			<-done
		}
		cancel()
		if h.t.Failed() {
			h.t.Logf("log of the service:\n%s", log)
		}
	})
	return log
}

// serviceSpec is the part of extension/sriov.yaml that a container runtime follows.
type serviceSpec struct {
	Container struct {
		Args   []string
		Mounts []struct {
			Source, Destination string
			Options             []string
		}
	}
}

// inContainer makes the mounts of the service's spec below the container's root,
// lets go of all others of the host, and becomes sriovd.
func inContainer() error {
	root := os.Getenv(containerEnv)
	data, err := os.ReadFile("../../extension/sriov.yaml")
	if err != nil {
		return err
	}
	var spec serviceSpec
	if err := yaml.Unmarshal(data, &spec); err != nil {
		return err
	}
	// The container's root is outside of the host's, as if the runtime had entered it.
	inside := filepath.Join(filepath.Dir(root), "c")
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""), os.MkdirAll(inside, 0o755),
		unix.Mount("tmpfs", inside, "tmpfs", 0, "")); err != nil {
		return err
	}
	for _, m := range spec.Container.Mounts {
		to := filepath.Join(inside, m.Destination)
		flags := uintptr(unix.MS_BIND)
		if slices.Contains(m.Options, "rbind") {
			flags |= unix.MS_REC
		}
		if err := errors.Join(os.MkdirAll(to, 0o755), unix.Mount(filepath.Join(root, m.Source), to, "", flags, "")); err != nil {
			return fmt.Errorf("mount of %s: %w", m.Source, err)
		}
		if slices.Contains(m.Options, "rslave") {
			if err := unix.Mount("", to, "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
				return err
			}
		}
	}
	for _, m := range spec.Container.Mounts {
		if !slices.Contains(m.Options, "ro") {
			continue
		}
		// Of the mount itself, not of those below it, as a runtime does.
		if err := unix.Mount("", filepath.Join(inside, m.Destination), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return err
		}
	}
	if err := errors.Join(unix.Unmount("/run", unix.MNT_DETACH), unix.Unmount(root, unix.MNT_DETACH)); err != nil {
		return err
	}
	at := func(path string) string { return filepath.Join(inside, path) }
	return unix.Exec(os.Getenv(programEnv), append(append([]string{"sriovd"}, spec.Container.Args...),
		"-host-root", at("host"), "-run-dir", at("host/run"), "-opt-dir", at("host/opt"), "-cni-plugin", "",
		"-state-dir", at("host/var/lib/sriov"), "-kubelet-dir", at("host/var/lib/kubelet"),
		"-config", at("host/system/overlays/extensions/sriov/etc-sriov-config.yaml"),
		"-device-info-dir", at("host/run/devinfo"), "-cdi-dir", at("host/run/cdi"),
		"-sysfs", filepath.Join(filepath.Dir(root), "sys"),
	), os.Environ())
}
