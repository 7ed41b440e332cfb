package talos_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	talosmachine "github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/resources/config"
	"github.com/siderolabs/talos/pkg/machinery/role"

	"github.com/talos-sriov/talos-sriov/pkg/internal/sysfstest"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest"
)

func open(t *testing.T, s *talostest.Server, r role.Role, nodes ...string) *talos.Cluster {
	t.Helper()
	c, err := talos.Open(t.Context(), talos.Options{Config: s.Talosconfig(t, r, time.Hour), Nodes: nodes, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// noLinks is a network without interfaces, as the nodes of these tests have.
type noLinks struct{}

func (noLinks) Links(context.Context) ([]nl.Link, error)             { return nil, nil }
func (noLinks) Addrs(context.Context) ([]nl.Addr, error)             { return nil, nil }
func (noLinks) DefaultRoutes(context.Context) ([]nl.Route, error)    { return nil, nil }
func (noLinks) VFs(context.Context, nl.LinkRef) ([]nl.VFInfo, error) { return nil, unshown }
func (noLinks) EswitchMode(context.Context, string, string) (string, error) {
	return "", unshown
}

func (noLinks) DevlinkInfo(context.Context, string, string) (map[string]string, error) {
	return nil, unshown
}
func (noLinks) TCOffload(context.Context, string) (bool, error)         { return false, unshown }
func (noLinks) RDMANetnsMode(context.Context) (nl.RDMANetnsMode, error) { return "", unshown }

var unshown = &inventory.Unanswerable{Source: "the Talos API"}

// TestSnapshot: a node read over the API is what it is read in place.
func TestSnapshot(t *testing.T) {
	archives, err := filepath.Glob("../inventory/testdata/*.sysfs")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			f := sysfstest.Load(t, archive)
			server := talostest.Start(t, 0, talostest.NewNode("n1", f.Root, t.TempDir()))
			got, err := snapshot(t.Context(), open(t, server, role.Admin, "n1").Nodes[0])
			if err != nil {
				t.Fatal(err)
			}
			want, err := inventory.Read(t.Context(), f.Open(t), noLinks{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-in place +over the API):\n%s", diff)
			}
		})
	}
}

// TestUnreadable: a file that is there and cannot be read costs its device a
// note, not the snapshot.
func TestUnreadable(t *testing.T) {
	root := sysfstest.Make(t, 1, 2)
	name := filepath.Join(root, "devices/pci0000:00/0000:00:00.0/sriov_drivers_autoprobe")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(name, 0o755); err != nil { // reading a directory fails for root too
		t.Fatal(err)
	}
	server := talostest.Start(t, 0, talostest.NewNode("n1", root, t.TempDir()))
	got, err := snapshot(t.Context(), open(t, server, role.Admin, "n1").Nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(got.PFs) != 1 || got.PFs[0].NumVFs != 2 {
		t.Fatalf("PFs %+v, want one with the 2 VFs that are linked", got.PFs)
	}
	var notes []string
	for _, n := range got.Notes {
		notes = append(notes, n.Device+" "+n.What)
		if n.Unanswerable != (n.Device == "network") {
			t.Errorf("note %+v", n)
		}
	}
	want := []string{"0000:00:00.0 sriov_drivers_autoprobe", "network devlink info", "network eswitch mode"}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// TestSlowLink: of the requests that read 8 PFs with 64 VFs in all, a fifteenth at
// most waits for the answers of others, so that a slow link is waited for that much
// less than by one call at a time.
func TestSlowLink(t *testing.T) {
	node := talostest.NewNode("n1", sysfstest.Make(t, 8, 8), t.TempDir())
	node.AddHardware(t, "")
	server := talostest.Start(t, 50*time.Millisecond, node)
	got, err := open(t, server, role.Admin, "n1").Nodes[0].View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	calls, peak := server.Calls.Load(), server.Peak.Load()
	t.Logf("%d calls, %d behind each other, %d at one time", calls, got.Trips, peak)
	if got.Trips < 2 || int64(got.Trips) > calls/15 {
		t.Errorf("%d of %d calls are behind each other, want a fifteenth at most", got.Trips, calls)
	}
	if peak < 16 {
		t.Errorf("%d calls at one time at most, want them to be made together", peak)
	}
	if pfs := got.Snapshot.PFs; len(pfs) != 8 || len(pfs[7].VFs) != 8 || pfs[7].VFs[7].Netdevs == nil {
		t.Errorf("not everything was read: %d PFs", len(pfs))
	}
}

func snapshot(ctx context.Context, n *talos.Node) (*inventory.Snapshot, error) {
	v, err := n.View(ctx)
	if err != nil {
		return nil, err
	}
	return v.Snapshot, nil
}

func TestDiscoverByRole(t *testing.T) {
	f := sysfstest.Load(t, "../inventory/testdata/82576.sysfs")
	node := talostest.NewNode("n1", f.Root, t.TempDir())
	snap, err := inventory.Read(t.Context(), f.Tree(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	uplink := snap.PFs[0].Netdevs[0].Name
	node.AddHardware(t, uplink)
	server := talostest.Start(t, 0, node)

	admin, err := open(t, server, role.Admin, "n1").Nodes[0].Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reader, err := open(t, server, role.Reader, "n1").Nodes[0].Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(admin.PFs) == 0 || admin.PFs[0].TotalVFs == nil || !strings.Contains(admin.PFs[0].Uplink, "default route") {
		t.Errorf("as admin: %+v", admin)
	}
	// What only an admin sees is missing; all else is the same.
	if len(reader.Notes) != 1 || !strings.Contains(reader.Notes[0], "os:admin") {
		t.Errorf("notes as reader: %q", reader.Notes)
	}
	for i := range admin.PFs {
		admin.PFs[i].TotalVFs, admin.PFs[i].NUMANode, admin.PFs[i].VFs = nil, nil, nil
		admin.PFs[i].LinkType = reader.PFs[i].LinkType // Talos' word and ours differ
	}
	if admin.View == nil || reader.View != nil {
		t.Errorf("view as admin %v, as reader %v", admin.View, reader.View)
	}
	admin.Notes, reader.Notes, admin.View = nil, nil, nil
	if diff := cmp.Diff(admin, reader); diff != "" {
		t.Errorf("(-admin +reader):\n%s", diff)
	}
	if _, err := snapshot(t.Context(), open(t, server, role.Reader, "n1").Nodes[0]); !talos.Denied(err) {
		t.Errorf("a snapshot as reader: %v", err)
	}
}

func TestErrors(t *testing.T) {
	node := talostest.NewNode("n1", sysfstest.Make(t, 1, 1), t.TempDir())
	silent := talostest.NewNode("silent", "", t.TempDir())
	silent.Silent = true
	server := talostest.Start(t, 0, node, silent)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	check := func(name string, err error, msg, hint string) {
		t.Helper()
		var e *talos.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v is no *talos.Error", name, err)
			return
		}
		if !strings.Contains(e.Error(), msg) || !strings.Contains(e.Hint, hint) {
			t.Errorf("%s: got %q, hint %q; want %q, hint %q", name, e.Error(), e.Hint, msg, hint)
		}
	}
	_, err := open(t, server, role.Admin, "gone").Nodes[0].Version(t.Context())
	check("no such node", err, "gone: cannot be reached", "port 50000")
	_, err = snapshot(ctx, open(t, server, role.Admin, "silent").Nodes[0])
	check("silent", err, "silent: no answer in time", "--timeout")
	_, err = open(t, server, role.Reader, "n1").Nodes[0].ReadFile(t.Context(), "/etc/os-release")
	check("denied", err, "n1: read /etc/os-release: the role", "os:admin")
	_, err = open(t, server, role.Reader, "n1").Nodes[0].Patch(t.Context(), []byte("machine: {}"), true)
	check("denied config", err, "n1: read the machine config: the role", "os:admin")
	_, err = open(t, server, role.Admin, "n1").Nodes[0].Patch(t.Context(), []byte("machine: {}"), true)
	check("maintenance", err, "n1: has no machine config", "apply-config")

	opts := talos.Options{Config: server.Talosconfig(t, role.Admin, -time.Hour), Nodes: []string{"n1"}, Now: time.Now()}
	_, err = talos.Open(t.Context(), opts)
	check("expired", err, "expired on ", "talosctl config new")
	opts.Now = time.Now().Add(-24 * time.Hour)
	_, err = talos.Open(t.Context(), opts)
	check("too early", err, "not valid before", "clock")
	opts.Now, opts.Context = time.Now(), "other"
	_, err = talos.Open(t.Context(), opts)
	check("no context", err, `has no context "other"`, "--context")
	opts.Context, opts.Config, opts.Nodes = "", server.Talosconfig(t, role.Admin, time.Hour), nil
	_, err = talos.Open(t.Context(), opts)
	check("no node", err, "no node is named", "-n")
}

func TestPatch(t *testing.T) {
	node := talostest.NewNode("n1", "", t.TempDir())
	provider, err := configloader.NewFromBytes(generated(t, "1.13", talosmachine.TypeWorker))
	if err != nil {
		t.Fatal(err)
	}
	node.Add(t, config.NewMachineConfig(provider))
	applied := 0
	node.Applied = func(data []byte) {
		applied++
		if !strings.Contains(string(data), "kind: ExtensionServiceConfig") {
			t.Errorf("the config is not in what was applied:\n%s", data)
		}
	}
	n := open(t, talostest.Start(t, 0, node), role.Admin, "n1").Nodes[0]
	patch, err := os.ReadFile(patchDir + "/worker-sriov.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct{ dryRun, changed bool }{{true, true}, {false, true}, {false, false}} {
		changed, err := n.Patch(t.Context(), patch, step.dryRun)
		if err != nil {
			t.Fatal(err)
		}
		if changed != step.changed {
			t.Errorf("step %d: changed is %v, want %v", i, changed, step.changed)
		}
	}
	module := []byte("machine: {kernel: {modules: [{name: vfio_pci}]}}")
	if _, err := n.Patch(t.Context(), module, false); err != nil {
		t.Fatal(err)
	}
	missing, err := n.MissingModules(t.Context(), []string{"uio_pci_generic", "vfio_pci"})
	if diff := cmp.Diff([]string{"uio_pci_generic"}, missing); err != nil || diff != "" {
		t.Errorf("missing modules: %v (-want +got):\n%s", err, diff)
	}
	if applied != 2 {
		t.Errorf("applied %d times, want twice", applied)
	}
}

func TestServiceAndLogs(t *testing.T) {
	node := talostest.NewNode("n1", "", t.TempDir())
	node.Services = []*machine.ServiceInfo{{Id: "kubelet", State: "Running"}, {
		Id: "ext-sriov", State: "Running",
		Events: &machine.ServiceEvents{Events: []*machine.ServiceEvent{{Msg: "Preparing"}, {Msg: "Started task"}}},
	}}
	node.Log = "one\ntwo\nthree\n"
	bare := talostest.NewNode("bare", "", t.TempDir())
	c := open(t, talostest.Start(t, 0, node, bare), role.Reader, "n1", "bare", "n1")
	if len(c.Nodes) != 2 {
		t.Fatalf("%d nodes, want each once", len(c.Nodes))
	}
	for i, want := range []talos.Service{{Installed: true, State: "Running", Message: "Started task"}, {}} {
		got, err := c.Nodes[i].Service(t.Context())
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", c.Nodes[i].Name, got, err, want)
		}
	}
	var log strings.Builder
	if err := c.Nodes[0].Logs(t.Context(), &log, false, 2); err != nil || log.String() != "two\nthree\n" {
		t.Errorf("log %q, %v", log.String(), err)
	}
}
