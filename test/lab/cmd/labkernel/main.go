// Command labkernel is PID 1 of a guest that has a kernel and compiled Go tests,
// and nothing else: it loads the modules, runs the tests one after the other and
// turns the machine off. What the tests print goes to the second serial port, so
// that the kernel's own messages, on the first, are never between.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "labkernel: runs as PID 1 of the lab's guest only")
		os.Exit(1)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "labkernel: FATAL:", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

func run() error {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	out, err := results()
	if err != nil {
		return err
	}
	defer out.Close()
	if err := load(); err != nil {
		return err
	}
	tests, err := filepath.Glob("/tests/*")
	if err != nil {
		return err
	}
	for _, t := range tests {
		if err := test(out, t); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(out, "labkernel: end")
	return err
}

// results opens the second serial port, raw: a terminal would add carriage
// returns.
func results() (*os.File, error) {
	name := "/dev/ttyS1"
	if runtime.GOARCH == "arm64" {
		name = "/dev/ttyAMA1"
	}
	f, err := os.OpenFile(name, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	tio, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err == nil {
		tio.Oflag &^= unix.OPOST
		err = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, tio)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make %s raw: %w", f.Name(), err)
	}
	return f, nil
}

func load() error {
	order, err := os.ReadFile("/modules/order")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(order)) {
		f, err := os.Open("/modules/" + name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	return nil
}

func test(out io.Writer, path string) error {
	cmd := exec.Command(path, "-test.v", "-test.timeout=5m")
	cmd.Dir = "/tmp"
	cmd.Env = []string{"SRIOV_NETDEVSIM=1", "SRIOV_CARD=/sriovd", "HOME=/tmp", "TMPDIR=/tmp"}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("run %s: %w", path, err)
	}
	_, err = fmt.Fprintf(out, "labkernel: %s exit %d\n", filepath.Base(path), cmd.ProcessState.ExitCode())
	return err
}
