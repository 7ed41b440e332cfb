package agent

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/apply"
	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/ledger"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// A state directory that is there and cannot be looked into may have notes of an earlier
// process: nothing is given out before the kubelet has said in any way who has what.
func TestStateThatCannotBeSeen(t *testing.T) {
	t.Parallel()
	const name, id = "example.com/x", "0000:21:10.0"
	dir := t.TempDir()
	loopDir := filepath.Join(dir, "state")
	if err := os.Symlink(loopDir, loopDir); err != nil { // ELOOP, for root too
		t.Fatal(err)
	}
	a, err := New(Options{
		Config: filepath.Join(dir, "c.yaml"), StateDir: loopDir, KubeletDir: dir, RunDir: filepath.Join(dir, "run"),
		Proc: "/proc", Dev: "/dev", Log: slog.New(slog.DiscardHandler), Kubelet: silentKubelet{}, Links: apply.NoLinks{},
	}, "boot-1")
	if err != nil {
		t.Fatal(err)
	}
	(&loop{agent: a}).open()
	pools := &pool.Assignment{Pools: []pool.Pool{{Resource: name, Devices: []pool.Device{{ID: id, Healthy: true}}}}}
	learn := func(k use.Kubelet) error {
		q := a.ledger.Ask()
		a.ledger.Learn(q, ledger.Answer{Kubelet: k}, &inventory.Snapshot{}, time.Now())
		a.ledger.Offer(q, pools, nil)
		done, err := books{a}.Note(t.Context(), deviceplugin.Allocation{Resource: name, IDs: []string{id}})
		if err == nil {
			done(false)
		}
		return err
	}
	unread := use.Checkpoint{Err: errors.New("unreadable")}
	if err := learn(use.Kubelet{Listening: true, Checkpoint: unread}); err == nil {
		t.Error("a device was given out that a pod may have under another name")
	}
	if err := learn(use.Kubelet{Answered: true, Since: time.Now().Add(-time.Hour), Checkpoint: unread}); err != nil {
		t.Errorf("the kubelet has said who has what: %v", err)
	}
}

// hanging is a kernel that does not answer about one attribute before the channel is
// closed.
type hanging struct {
	*modelkernel.Kernel
	suffix string
	answer <-chan struct{}
}

func (h hanging) ReadFile(name string) ([]byte, error) {
	if strings.HasSuffix(name, h.suffix) {
		<-h.answer
	}
	return h.Kernel.ReadFile(name)
}

// A gate that gets old answers about its own PF does not know who has what.
func TestGateOfASilentPF(t *testing.T) {
	t.Parallel()
	const pf, other = "0000:21:00.0", "0000:41:00.0"
	k := modelkernel.New(modelkernel.Standard()...)
	for i, addr := range []string{pf, other} {
		k.AddPF(modelkernel.PF{
			Address: addr, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7,
			Name: "enp" + addr[5:6] + "s0", MAC: "52:54:00:00:00:0" + addr[6:7], NUMA: i,
		})
		if err := k.Write(sysfs.NumVFs(addr), "1"); err != nil {
			t.Fatal(err)
		}
	}
	answer := make(chan struct{})
	a := idle(t, k, &asking{})
	a.reader = inventory.NewReader(hanging{k, "/" + k.Snapshot().PF(pf).VFs[0].Address + "/uevent", answer}, k, inventory.ReaderOptions{Bound: 50 * time.Millisecond})
	t.Cleanup(func() { close(answer) })
	for addr, silent := range map[string]bool{pf: true, other: false} {
		claims := (gate{a}).Begin(addr)
		if _, err := claims.Claim(t.Context(), []string{addr}); (err != nil) != silent {
			t.Errorf("%s: %v, want an error: %t", addr, err, silent)
		}
		claims.Release()
	}
}
