package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/role"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest"
)

// TestWalkthroughs runs the sriovctl commands in the console blocks of the
// pages, in their order, and holds what they print against what the page shows.
// The node 10.5.0.3 has a ConnectX-7 without VFs. `talosctl upgrade` in the page
// stands for the moment when the extension is there, and the patch that
// deletes the config for the one when it is not. Other commands are not run, and
// must not pretend an output unless another test holds it.
func TestWalkthroughs(t *testing.T) {
	for _, name := range []string{"README.md", "docs/install.md"} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			file, err := filepath.Abs(filepath.Join("../..", name))
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			n := bareNode(t)
			t.Setenv("TALOSCONFIG", talostest.Start(t, 0, n).Talosconfig(t, role.Admin, time.Hour))
			t.Chdir(t.TempDir())
			w := &walk{t: t, node: n}
			got := w.page(string(text))
			if w.ran < 3 {
				t.Errorf("only %d commands were run", w.ran)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(text), got); diff != "" {
				t.Errorf("%s shows something else than the commands print (-shown +printed; -update writes it):\n%s", name, diff)
			}
		})
	}
}

// shown are the commands whose output this test does not hold: the demo is the
// lab's, and the image's digests are of one commit.
var shown = []string{"make "}

// walk goes through one page.
type walk struct {
	t    *testing.T
	node *talostest.Node
	ran  int
}

// page returns the text with the output of every command that was run.
func (w *walk) page(text string) string {
	var out strings.Builder
	var block []string
	indent, open := "", false
	for line := range strings.Lines(text) {
		switch trimmed := strings.TrimSpace(line); {
		case !open && trimmed == "```console":
			open, indent, block = true, line[:strings.Index(line, "`")], nil
			out.WriteString(line)
		case open && trimmed == "```":
			open = false
			for l := range strings.Lines(w.block(block)) {
				out.WriteString(strings.TrimRight(indent+strings.TrimSuffix(l, "\n"), " ") + "\n")
			}
			out.WriteString(line)
		case open:
			block = append(block, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), indent))
		default:
			out.WriteString(line)
		}
	}
	return out.String()
}

// block runs the commands of a block.
func (w *walk) block(lines []string) string {
	var out strings.Builder
	for i := 0; i < len(lines); {
		command := lines[i]
		for i++; strings.HasSuffix(command, "\\") && i < len(lines); i++ {
			command += "\n" + lines[i]
		}
		end := i
		for end < len(lines) && !strings.HasPrefix(lines[end], "$ ") {
			end++
		}
		output := strings.Join(lines[i:end], "\n")
		i = end
		out.WriteString(command + "\n")
		line, isCommand := strings.CutPrefix(command, "$ ")
		hasOutput := strings.TrimSpace(output) != ""
		switch {
		case isCommand && strings.HasPrefix(line, "sriovctl "):
			out.WriteString(w.sriovctl(line))
			continue
		case isCommand && strings.HasPrefix(line, "cat "):
			out.WriteString(w.read(strings.TrimPrefix(line, "cat ")))
			continue
		case strings.Contains(line, " upgrade "):
			w.node.Services = []*machine.ServiceInfo{{Id: "ext-sriov", State: "Running"}}
			w.inForce(nil)
		case strings.Contains(line, `"$patch":"delete"`):
			w.inForce(nil)
		}
		if hasOutput {
			if !containsPrefix(shown, line) {
				w.t.Errorf("%s: shows an output that no test holds:\n%s", command, output)
			}
			out.WriteString(output + "\n")
		}
	}
	return out.String()
}

func containsPrefix(prefixes []string, s string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

func (w *walk) read(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		w.t.Error(err)
	}
	return string(data)
}

// sriovctl runs a command on a terminal where somebody says yes, and returns
// what is on it then.
func (w *walk) sriovctl(line string) string {
	w.ran++
	line, target, redirected := strings.Cut(line, " > ")
	var terminal, file bytes.Buffer
	a := &app{in: &typing{keys: strings.NewReader("y\n"), echo: &terminal}, out: &terminal, err: &terminal, now: time.Now, interactive: true}
	if redirected {
		a.out = &file
	}
	w.node.Applied = w.inForce
	if code := a.run(w.t.Context(), strings.Fields(line)[1:]); code != exitOK {
		w.t.Errorf("%s: exit code %d:\n%s", line, code, &terminal)
	}
	if redirected {
		if err := os.WriteFile(target, file.Bytes(), 0o644); err != nil {
			w.t.Error(err)
		}
	}
	return terminal.String()
}

// inForce does what the daemon does as far as its status shows; nil is a machine
// config without a config of ours.
func (w *walk) inForce(machineConfig []byte) {
	s := &status.Status{APIVersion: status.APIVersion, Kind: status.Kind, Spec: status.Spec{State: status.SpecAbsent}}
	if machineConfig != nil {
		emb, err := spec.Extract("applied", machineConfig)
		if err != nil {
			w.t.Error(err)
			return
		}
		hash := spec.Hash(emb.Data)
		s.Spec = status.Spec{State: status.SpecAccepted, Hash: hash, InForce: hash}
	}
	writeStatus(w.t, w.node.Files, s)
}

// typing is a keyboard with echo.
type typing struct {
	keys io.Reader
	echo io.Writer
}

func (k *typing) Read(p []byte) (int, error) {
	n, err := k.keys.Read(p)
	if n > 0 {
		if _, err := k.echo.Write(p[:n]); err != nil {
			return n, err
		}
	}
	return n, err
}

// bareNode is the node that the pages show: a ConnectX-7 without VFs, and
// without the extension.
func bareNode(t *testing.T) *talostest.Node {
	t.Helper()
	sys := talostest.Sysfs(t, "../../pkg/inventory/testdata/connectx7.sysfs")
	pf, err := filepath.EvalSymlinks(filepath.Join(sys, "bus/pci/devices/0000:01:00.0"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(pf, "sriov_numvfs"), []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		vf := fmt.Sprintf("0000:01:00.%d", i+2)
		err := filepath.WalkDir(sys, func(path string, d fs.DirEntry, err error) error {
			switch {
			case os.IsNotExist(err):
				return nil
			case err != nil:
				return err
			case d.Name() == vf || d.Name() == fmt.Sprintf("virtfn%d", i):
				if err := os.RemoveAll(path); err != nil {
					return err
				}
				if d.IsDir() {
					return fs.SkipDir
				}
			case d.Type()&fs.ModeSymlink != 0:
				if target, err := os.Readlink(path); err == nil && strings.Contains(target, vf) {
					return os.Remove(path)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	n := nodeOf(t, "10.5.0.3", sys, "")
	addMachineConfig(t, n)
	return n
}
