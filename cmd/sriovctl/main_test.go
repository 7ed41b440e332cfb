package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	talosmachine "github.com/siderolabs/talos/pkg/machinery/config/machine"
	configres "github.com/siderolabs/talos/pkg/machinery/resources/config"
	"github.com/siderolabs/talos/pkg/machinery/role"

	installed "github.com/talos-sriov/talos-sriov/pkg/install/outcome"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest"
	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest/contracts"
)

var update = flag.Bool("update", false, "write the golden parts of the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sriovctl": main})
}

// TestScripts runs the transcripts in testdata against a Talos API with these
// nodes:
//
//	igb     an Intel 82576 with two VFs, extension running; its port is the uplink
//	cx7     ConnectX-7, the extension not installed
//	newer   as cx7, installed with Talos 1.14, whose documents we do not know
//	plain   a NIC without SR-IOV
//	silent  never answers
//	gone    is not there
//
// TALOSCONFIG has os:admin; the files reader and expired are other talosconfigs.
func TestScripts(t *testing.T) {
	igbTree, cx7Tree, plainTree := fixtureTree(t, "82576"), fixtureTree(t, "connectx7"), fixtureTree(t, "e1000e")
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: *update, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			tb := env.T().(testing.TB)
			igb := nodeOf(tb, "igb", igbTree, "enp33s0")
			igb.Services = []*machine.ServiceInfo{{Id: "ext-sriov", State: "Running"}}
			igb.Log = "level=INFO msg=started version=0.1.0\nlevel=INFO msg=\"document accepted\"\nlevel=INFO msg=\"2 VFs made\" pf=enp33s0\n"
			writeStatus(tb, igb.Files, igbStatus())
			cx7 := nodeOf(tb, "cx7", cx7Tree, "")
			addMachineConfig(tb, igb)
			addMachineConfig(tb, cx7)
			igb.Applied = func(data []byte) { accept(tb, igb.Files, data) }
			server := talostest.Start(tb, 0, igb, cx7, newerNode(tb, cx7Tree), nodeOf(tb, "plain", plainTree, ""), silentNode(tb))
			env.Setenv("TALOSCONFIG", server.Talosconfig(tb, role.Admin, time.Hour))
			env.Setenv("reader", server.Talosconfig(tb, role.Reader, time.Hour))
			env.Setenv("expired", server.Talosconfig(tb, role.Admin, -time.Hour))
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
	})
}

func fixtureNode(tb testing.TB, name, fixture, uplink string) *talostest.Node {
	return nodeOf(tb, name, fixtureTree(tb, fixture), uplink)
}

// fixtureTree is a sysfs, which nodes only read: several may have one.
func fixtureTree(tb testing.TB, fixture string) string {
	return talostest.Sysfs(tb, filepath.Join("../../pkg/inventory/testdata", fixture+".sysfs"))
}

func nodeOf(tb testing.TB, name, sys, uplink string) *talostest.Node {
	tb.Helper()
	n := talostest.NewNode(name, sys, tb.TempDir())
	n.AddHardware(tb, uplink)
	boot := filepath.Join(n.Files, "proc/sys/kernel/random")
	if err := os.MkdirAll(boot, 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(boot, "boot_id"), []byte("b0071d\n"), 0o644); err != nil {
		tb.Fatal(err)
	}
	return n
}

// newerNode takes a machine config only when it kept what a client of an older
// Talos does not know.
func newerNode(tb testing.TB, tree string) *talostest.Node {
	n := nodeOf(tb, "newer", tree, "")
	n.Version = "v1.14.1"
	later := append(contracts.Worker114(), "--- # of 1.15\nkind:   'LaterConfig'\napiVersion: v2\nx: [ 1,2 ]\n"...)
	n.Add(tb, talostest.NewMachineConfig(later))
	n.Judge = talostest.Keeps(later, "v1alpha1", "KubeletConfig")
	return n
}

func silentNode(tb testing.TB) *talostest.Node {
	n := talostest.NewNode("silent", "", tb.TempDir())
	n.Silent = true
	return n
}

// workerConfig is a worker's machine config. All tests share one: the keys that
// belong to it take seconds to make.
var workerConfig = sync.OnceValues(func() (config.Provider, error) {
	in, err := generate.NewInput("test", "https://10.5.0.2:6443", "1.35.0",
		generate.WithVersionContract(config.TalosVersion1_13), generate.WithInstallDisk("/dev/sda"))
	if err != nil {
		return nil, err
	}
	generated, err := in.Config(talosmachine.TypeWorker)
	if err != nil {
		return nil, err
	}
	data, err := generated.Bytes()
	if err != nil {
		return nil, err
	}
	return configloader.NewFromBytes(data)
})

// addMachineConfig gives the nodes a worker's machine config.
func addMachineConfig(tb testing.TB, nodes ...*talostest.Node) {
	tb.Helper()
	provider, err := workerConfig()
	if err != nil {
		tb.Fatal(err)
	}
	for _, n := range nodes {
		n.Add(tb, configres.NewMachineConfig(provider))
	}
}

func writeStatus(tb testing.TB, files string, s *status.Status) {
	tb.Helper()
	dir := filepath.Join(files, "var/lib/sriov")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := status.Write(filepath.Join(dir, "status.yaml"), s); err != nil {
		tb.Fatal(err)
	}
}

// accept does what the daemon does with a new document, as far as the status
// shows: it is in force.
func accept(tb testing.TB, files string, machineConfig []byte) {
	emb, err := spec.Extract("applied", machineConfig)
	if err != nil {
		tb.Errorf("applied a machine config without a document: %v", err)
		return
	}
	s := igbStatus()
	s.Spec.Hash = spec.Hash(emb.Data)
	s.Spec.InForce = s.Spec.Hash
	if strings.Contains(string(emb.Data), "refuse.me") {
		s.Spec.State, s.Spec.InForce = status.SpecRefused, ""
	}
	writeStatus(tb, files, s)
}

func igbStatus() *status.Status {
	hash := spec.Hash([]byte("an older document"))
	return &status.Status{
		APIVersion: status.APIVersion, Kind: status.Kind,
		Spec: status.Spec{State: status.SpecAccepted, Hash: hash, InForce: hash},
		PFs: []status.PF{{
			Address: "0000:21:00.0", Name: "enp33s0", Driver: "igb", State: status.PFReady,
			Desired: status.Desired{NumVFs: new(2)}, Actual: status.Actual{NumVFs: 2, TotalVFs: 7, Carrier: true},
			Drift: 3,
		}},
		Pools: []status.Pool{{
			ResourceName: "intel.com/igb", Devices: 2, Healthy: 1, Registered: true,
			Members: []status.Device{
				{ID: "0000:21:10.0", Healthy: true, Use: status.UseHeld, Holders: []status.Holder{{Device: "0000:21:10.0", Namespace: "default", Pod: "web-0", Evidence: "pod-resources"}}},
				{ID: "0000:21:10.2", Healthy: false, Reason: status.Reason{Cause: "no-link", Text: "link down"}, Use: status.UseFree},
			},
		}},
		CNI: &status.CNI{
			Install: "true", State: installed.Foreign, Owner: installed.Other, Path: "/opt/cni/bin/sriov",
			Reason: "a file of this name was there that the extension did not install",
			Hint:   "cni: {install: force} replaces it; cni: {install: false} says that it is meant to be used",
		},
		Orphans: &status.Orphans{Returned: 1},
		Notices: []status.Problem{{Msg: "the entry at line 9 selects no PF on this node"}},
	}
}
