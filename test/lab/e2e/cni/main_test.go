package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

const (
	pf     = "0000:21:00.0"
	pfName = "ens1"
	ours   = "/var/lab/sriov"
	theirs = "/var/lab/upstream"
	state  = "/var/lib/cni/sriov"
	maxVFs = 7 // of the emulated card
)

// vf is the PCI address of a VF of pf; igb's VFs are two functions apart.
func vf(i int) string { return fmt.Sprintf("0000:21:%02x.%d", 0x10+2*i/8, 2*i%8) }

var node *lab.Node

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if node, err = lab.Start(ctx, lab.Options{}); err != nil {
		return 1, err
	}
	defer node.Close()
	// The extension looks after VFs; here nobody else is to touch them.
	if err := node.Service("ext-sriov").Stop(ctx); err != nil {
		return 1, err
	}
	if err := put(ctx, ours, "../../../../_out/bin/linux-amd64/sriov-cni"); err != nil {
		return 1, fmt.Errorf("%w (make build makes it)", err)
	}
	if path := os.Getenv("SRIOVCNI"); path != "" {
		if err := put(ctx, theirs, path); err != nil {
			return 1, fmt.Errorf("SRIOVCNI: %w", err)
		}
	}
	return m.Run(), nil
}

func put(ctx context.Context, path, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	_, err = node.Exec(ctx, "mkdir -p /run/cni")
	return errors.Join(err, node.Put(ctx, path, 0o755, data))
}

func needUpstream(t *testing.T) {
	t.Helper()
	if os.Getenv("SRIOVCNI") == "" {
		t.Skip("SRIOVCNI=path names no program of sriov-cni to compare with")
	}
}

func sh(t *testing.T, script string) string {
	t.Helper()
	out, err := node.Exec(t.Context(), script)
	if err != nil {
		t.Fatalf("in the guest: %s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(out)
}

// begin makes VFs and network namespaces a0, a1, ..., one for each VF, and
// takes them away at the end.
func begin(t *testing.T, vfs int) {
	t.Helper()
	node.Watch(t)
	clean := fmt.Sprintf(`for n in $(ip netns list | cut -d' ' -f1); do ip netns del $n; done
echo 0 >/sys/bus/pci/devices/%s/sriov_numvfs; rm -rf %s /run/cni/ipam`, pf, state)
	t.Cleanup(func() {
		if out, err := node.Exec(context.WithoutCancel(t.Context()), clean); err != nil {
			t.Errorf("clean up: %v\n%s", err, out)
		}
	})
	sh(t, fmt.Sprintf(`ip link set %s up; rm -rf %s
echo %d >/sys/bus/pci/devices/%s/sriov_numvfs
for i in $(seq 0 %d); do ip netns add a$i; done`, pfName, state, vfs, pf, vfs-1))
	if err := node.WaitFor(t.Context(), "wait for the names of the VFs' interfaces, which udev gives them, and the PF's link", func(ctx context.Context) (bool, error) {
		// Without a link igb knows no rate.
		out, err := node.Exec(ctx, "ls -d /sys/bus/pci/devices/"+pf+"/virtfn*/net/"+pfName+"v* | wc -l; cat /sys/class/net/"+pfName+"/carrier")
		return out == fmt.Sprintf("%d\n1\n", vfs), err
	}); err != nil {
		t.Fatal(err)
	}
}

// conf is a configuration for a VF with more keys.
func conf(i int, more string) string {
	if more != "" {
		more = "," + more
	}
	return fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net","type":"sriov","deviceID":%q%s}`, vf(i), more)
}

// command is the shell's words to call a plugin for VF i, container ci and
// namespace ai.
func command(plugin, verb string, i int, config string) string {
	return fmt.Sprintf(`CNI_COMMAND=%s CNI_CONTAINERID=c%d CNI_NETNS=/var/run/netns/a%d CNI_IFNAME=net1 CNI_PATH=/opt/cni/bin ownproc %s 2>/run/cni/stderr <<'END'
%s
END
`, verb, i, i, plugin, config)
}

// result is the part of a CNI result, or error, that the cases read.
type result struct {
	Code       uint
	Msg        string
	Interfaces []struct {
		Name, Mac, Sandbox string
		Mtu                int
	}
	IPs []struct{ Address string }
}

// call runs a plugin; an error of the plugin is in the result.
func call(t *testing.T, plugin, verb string, i int, config string) result {
	t.Helper()
	out := sh(t, command(plugin, verb, i, config)+"true")
	var r result
	if out == "" {
		return r
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%s %s answers %q: %v", plugin, verb, out, err)
	}
	return r
}

// must is call for a command that has to succeed.
func must(t *testing.T, plugin, verb string, i int, config string) result {
	t.Helper()
	r := call(t, plugin, verb, i, config)
	if r.Code != 0 || r.Msg != "" {
		t.Fatalf("%s %s: code %d: %s", plugin, verb, r.Code, r.Msg)
	}
	return r
}

// machine is all that a pod's end must bring back: the PF's table of VFs, the
// VFs' interfaces on the host with MAC and MTU, and the plugin's files.
func machine(t *testing.T) string {
	t.Helper()
	return sh(t, fmt.Sprintf(`ip link show dev %[1]s | grep 'vf '
for d in /sys/bus/pci/devices/%[2]s/virtfn*; do
	for n in $d/net/*; do echo $(basename $(readlink -f $d)) $(basename $n) $(cat $n/address $n/mtu); done
done
find %[3]s -type f ! -name '*.lock' 2>/dev/null; true`, pfName, pf, state))
}
