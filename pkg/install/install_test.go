package install

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/install/outcome"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// host is a machine with an image of the extension.
type host struct {
	t   *testing.T
	dir string
	o   Options
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, dir: t.TempDir()}
	h.o = Options{
		Source: h.at("image/sriov-cni"), OptDir: h.at("opt"), Record: h.at("state/cni.json"),
		Attachments: h.at("attachments"), Version: "1.0.0",
	}
	h.write("image/sriov-cni", "plugin 1.0.0")
	h.write("state/.keep", "")
	h.write("opt/cni/bin/bridge", "bridge")
	return h
}

func (h *host) at(name string) string { return filepath.Join(h.dir, name) }

func (h *host) write(name, content string) {
	h.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(h.at(name)), 0o755), os.WriteFile(h.at(name), []byte(content), 0o644)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) read(name string) string {
	h.t.Helper()
	data, err := os.ReadFile(h.at(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.t.Fatal(err)
	}
	return string(data)
}

// upgrade is another version of the extension's image.
func (h *host) upgrade(version string) {
	h.write("image/sriov-cni", "plugin "+version)
	h.o.Version = version
}

const place = "opt/cni/bin/sriov"

// reconcile is what a new process of the daemon comes to, and checks that a second
// pass changes nothing.
func (h *host) reconcile(want spec.CNI, state outcome.State, owner outcome.Owner) outcome.CNI {
	h.t.Helper()
	i := New(h.o)
	r, _ := i.Reconcile(h.t.Context(), want, true)
	if r.State != state || r.Owner != owner {
		h.t.Fatalf("%+v: %s, %s, want %s, %s: %s", want, r.State, r.Owner, state, owner, r.Reason)
	}
	again, changed := i.Reconcile(h.t.Context(), want, true)
	if changed != "" {
		h.t.Errorf("the second pass changed something: %s", changed)
	}
	if again != r {
		h.t.Errorf("the second pass says %+v, the first %+v", again, r)
	}
	if left, _ := filepath.Glob(h.at("opt/cni/bin/" + tmpPrefix + "*")); len(left) > 0 {
		h.t.Errorf("left behind: %v", left)
	}
	if h.read("opt/cni/bin/bridge") != "bridge" {
		h.t.Error("another plugin was touched")
	}
	return r
}

var (
	on    = spec.CNI{Install: spec.CNIInstallOn}
	off   = spec.CNI{Install: spec.CNIInstallOff}
	force = spec.CNI{Install: spec.CNIInstallForce}
)

func TestLifeOfAnInstallation(t *testing.T) {
	h := newHost(t)
	h.reconcile(on, outcome.Installed, outcome.Extension)
	if info, err := os.Stat(h.at(place)); err != nil || info.Mode() != 0o755 {
		t.Fatalf("%v %v", info, err)
	}
	h.upgrade("1.1.0")
	h.reconcile(on, outcome.Installed, outcome.Extension)
	if got := h.read(place); got != "plugin 1.1.0" {
		t.Errorf("after the upgrade: %q", got)
	}
	h.upgrade("1.0.0")
	if r := h.reconcile(on, outcome.Newer, outcome.Extension); r.Version != "1.1.0" || h.read(place) != "plugin 1.1.0" {
		t.Errorf("after going back: %+v", r)
	}
	h.reconcile(force, outcome.Installed, outcome.Extension)
	if got := h.read(place); got != "plugin 1.0.0" {
		t.Errorf("after force: %q", got)
	}

	// sriov-cni's own installer comes.
	h.write(place, "upstream")
	h.reconcile(on, outcome.Foreign, outcome.Other)
	h.reconcile(off, outcome.Off, outcome.Other)
	if got := h.read(place); got != "upstream" {
		t.Errorf("a foreign program is now %q", got)
	}
	h.reconcile(force, outcome.Installed, outcome.Extension)
	h.reconcile(off, outcome.Off, outcome.Nobody)
	if _, err := os.Lstat(h.at(place)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	h.reconcile(on, outcome.Installed, outcome.Extension)
}

func TestOtherDirectory(t *testing.T) {
	h := newHost(t)
	h.reconcile(on, outcome.Installed, outcome.Extension)
	h.reconcile(spec.CNI{Install: "true", BinDir: "/opt/elsewhere/bin"}, outcome.Installed, outcome.Extension)
	if h.read("opt/elsewhere/bin/sriov") != "plugin 1.0.0" || h.read(place) != "" {
		t.Errorf("%q at the new place, %q at the old one", h.read("opt/elsewhere/bin/sriov"), h.read(place))
	}
	// The old place belongs to somebody else by now.
	h.reconcile(on, outcome.Installed, outcome.Extension)
	h.write("opt/elsewhere/bin/sriov", "upstream")
	h.reconcile(on, outcome.Installed, outcome.Extension)
	if got := h.read("opt/elsewhere/bin/sriov"); got != "upstream" {
		t.Errorf("a foreign program is now %q", got)
	}
}

// A link is replaced, and what it leads to is not.
func TestForceReplacesALink(t *testing.T) {
	h := newHost(t)
	h.write("elsewhere", "precious")
	if err := os.Symlink(h.at("elsewhere"), h.at(place)); err != nil {
		t.Fatal(err)
	}
	h.reconcile(on, outcome.Foreign, outcome.Other)
	h.reconcile(force, outcome.Installed, outcome.Extension)
	if h.read("elsewhere") != "precious" || h.read(place) != "plugin 1.0.0" {
		t.Errorf("%q, %q", h.read("elsewhere"), h.read(place))
	}
}

func TestNotRemovedWhilePodsNeedIt(t *testing.T) {
	h := newHost(t)
	h.reconcile(on, outcome.Installed, outcome.Extension)
	h.write("attachments/0123-net1", "{}")
	h.write("attachments/pci/vf_lock/x.lock", "")
	if r := h.reconcile(off, outcome.Pending, outcome.Extension); !strings.Contains(r.Reason, "reclaim: 1") || r.Version != "1.0.0" {
		t.Errorf("%+v", r)
	}
	if err := os.Remove(h.at("attachments/0123-net1")); err != nil {
		t.Fatal(err)
	}
	h.reconcile(off, outcome.Off, outcome.Nobody)
}

func TestNotYetPossible(t *testing.T) {
	h := newHost(t)
	if r, _ := New(h.o).Reconcile(t.Context(), on, false); r.State != outcome.Pending || h.read(place) != "" {
		t.Errorf("without the state directory: %+v", r)
	}
	h.o.OptDir = h.at("not-mounted")
	h.reconcile(on, outcome.Pending, outcome.Unknown)
	if _, err := os.Stat(h.o.OptDir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a directory was made where the host's should be mounted")
	}
	h.o.OptDir = h.at("image/sriov-cni")
	h.reconcile(on, outcome.Pending, outcome.Unknown)
	h.o.OptDir = h.at("opt")
	h.o.Source = h.at("image/none")
	if r := h.reconcile(on, outcome.Failed, outcome.Unknown); !strings.Contains(r.Reason, "no CNI plugin") {
		t.Errorf("%+v", r)
	}
}

func TestDamagedRecordMakesOursForeign(t *testing.T) {
	h := newHost(t)
	h.reconcile(on, outcome.Installed, outcome.Extension)
	h.write("state/cni.json", "{")
	h.reconcile(on, outcome.Installed, outcome.Extension) // byte for byte the image's
	h.write("state/cni.json", "{")
	h.upgrade("1.1.0")
	h.reconcile(on, outcome.Foreign, outcome.Other)
}

// The program is killed at each point, and the next one finishes: ours is never
// taken for foreign, and the name never leads to half a program.
func TestCrashWalk(t *testing.T) {
	points := 0
	for n := 1; ; n++ {
		h := newHost(t)
		h.reconcile(on, outcome.Installed, outcome.Extension)
		h.upgrade("1.1.0")
		passed, o := 0, h.o
		o.Point = func(string) {
			if passed++; passed == n {
				panic(errCrash)
			}
		}
		if !crashes(t.Context(), New(o)) {
			break
		}
		points++
		if got := h.read(place); got != "plugin 1.0.0" && got != "plugin 1.1.0" {
			t.Errorf("after a crash at point %d: %q", n, got)
		}
		h.reconcile(on, outcome.Installed, outcome.Extension)
		if got := h.read(place); got != "plugin 1.1.0" {
			t.Errorf("a crash at point %d: ended with %q", n, got)
		}
		h.reconcile(off, outcome.Off, outcome.Nobody)
	}
	if points < 4 {
		t.Errorf("only %d points", points)
	}
}

var errCrash = errors.New("crash")

func crashes(ctx context.Context, i *Installer) (crashed bool) {
	defer func() {
		if r := recover(); r != nil {
			crashed = true
		}
	}()
	i.Reconcile(ctx, on, true)
	return false
}

func TestRecordIsBounded(t *testing.T) {
	h := newHost(t)
	for _, v := range strings.Fields(strings.Repeat("2.0.0 2.0.1 2.0.2 ", 20)) {
		h.upgrade(v)
		h.reconcile(force, outcome.Installed, outcome.Extension)
	}
	record, err := New(h.o).read()
	if err != nil || len(record) != 4-1 {
		t.Errorf("%d entries: %+v, %v", len(record), record, err)
	}
}

// A program that appears between the pass and the installation is somebody's, and
// is not replaced.
func TestRenameReplacesNothing(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	for _, f := range []string{from, to} {
		if err := os.WriteFile(f, []byte(f), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := rename(from, to, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want it to exist", err)
	}
	if got, err := os.ReadFile(to); err != nil || string(got) != to {
		t.Errorf("%s is now %q, %v", to, got, err)
	}
	if err := rename(from, to, true); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(to); err != nil || string(got) != from {
		t.Errorf("%s is %q, %v", to, got, err)
	}
}
