package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openPTY returns both ends of a pseudo-terminal.
func openPTY(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return keyboard, terminal
}

// On a real terminal, with the output going to a file: the program asks, takes
// the answers, and writes nothing but the patch to the file. Ctrl-C at a question
// ends it.
func TestTerminal(t *testing.T) {
	newTerminal(t, "", fixtureNode(t, "cx7", "connectx7", "")) // for its TALOSCONFIG
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Under this name the test's binary is sriovctl (see TestMain).
	sriovctl := filepath.Join(t.TempDir(), "sriovctl")
	if err := os.Symlink(self, sriovctl); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		typed map[string]string // by question
		code  int
	}{
		"answers": {map[string]string{"which PFs": "enp1s0f0np0\n", "how many VFs": "4\n", "which resource": "nvidia.com/cx7\n"}, exitOK},
		"ctrl-c":  {map[string]string{"which PFs": "enp1s0f0np0\n", "how many VFs": "\x03"}, exitError},
		"ctrl-d":  {map[string]string{"which PFs": "\x04"}, exitError},
	} {
		t.Run(name, func(t *testing.T) {
			keyboard, terminal := openPTY(t)
			var out bytes.Buffer
			cmd := exec.CommandContext(t.Context(), sriovctl, "generate", "patch", "-n", "cx7")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, &out, terminal
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if err := terminal.Close(); err != nil {
				t.Fatal(err)
			}
			seen := type_(t, keyboard, x.typed)
			_ = cmd.Wait() // its exit code is looked at
			if code := cmd.ProcessState.ExitCode(); code != x.code {
				t.Errorf("exit code %d, want %d; the terminal shows:\n%s", code, x.code, seen)
			}
			switch {
			case x.code == exitOK && (!strings.HasPrefix(out.String(), "machine:") || !strings.Contains(out.String(), "resourceName: nvidia.com/cx7")):
				t.Errorf("the output is no patch:\n%s", out.String())
			case x.code != exitOK && out.Len() > 0:
				t.Errorf("written although it was broken off:\n%s", out.String())
			case name == "ctrl-c" && !strings.Contains(seen, "error: interrupted"):
				t.Errorf("the terminal shows:\n%s", seen)
			}
		})
	}
}

// type_ answers the questions on a terminal until it is closed, and returns what
// it showed.
func type_(t *testing.T, keyboard *os.File, answers map[string]string) string {
	t.Helper()
	var seen strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := keyboard.Read(buf)
		seen.Write(buf[:n])
		if err != nil {
			// EIO is what Linux says when the other end is closed.
			if !errors.Is(err, io.EOF) && !errors.Is(err, unix.EIO) {
				t.Error(err)
			}
			return seen.String()
		}
		for question, typed := range answers {
			if _, rest, asked := strings.Cut(seen.String(), question); asked && strings.Contains(rest, "? ") {
				delete(answers, question)
				if _, err := keyboard.WriteString(typed); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
