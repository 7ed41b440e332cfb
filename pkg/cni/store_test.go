package cni

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
)

// A FIFO or a link in the place of a state file holds no call up and is not followed.
func TestStateThatIsNoFile(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	before := r.m.state()
	args := cmd("c1", "/ns/a", conf(0, ""))
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("/ns/b"), 0o600))
	must(t, os.MkdirAll(filepath.Dir(r.lockPath(vfAddr(0))), 0o700))
	for name, plant := range map[string]func(path string) error{
		"FIFO": func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link": func(path string) error { return os.Symlink(secret, path) },
	} {
		allocation := r.allocationPath(vfAddr(0))
		must(t, plant(allocation))
		if _, err := r.Add(t.Context(), args); err == nil {
			t.Errorf("a %s was taken for an allocation", name)
		}
		must(t, os.Remove(allocation))
		must(t, plant(r.cachePath("c1-net1")))
		must(t, r.Del(t.Context(), args))
		r.untouched(t, before)
	}
	must(t, os.Remove(r.lockPath(vfAddr(0))))
	must(t, os.Symlink(secret, r.lockPath(vfAddr(0))))
	if _, err := r.Add(t.Context(), args); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a lock that is a link: %v", err)
	}
	if b, err := os.ReadFile(secret); string(b) != "/ns/b" || err != nil {
		t.Errorf("a file elsewhere is %q, %v", b, err)
	}
}

// Take-over: files as sriov-cni writes them.
func TestDelOfUpstreamCache(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	before := r.m.state()
	l := r.m.vfLink(0)
	l.ns, l.Name, l.Up, l.MTU = "/ns/a", "net1", true, 4444
	r.m.vfs[0].VLAN = 1234
	must(t, os.MkdirAll(filepath.Join(r.Dir, "pci"), 0o700))
	must(t, os.WriteFile(filepath.Join(r.Dir, "pci", vfAddr(0)), []byte("/ns/a"), 0o600))
	must(t, os.WriteFile(filepath.Join(r.Dir, "c1-net1"), []byte(`{"cniVersion":"0.3.1","name":"net","type":"sriov","ipam":{},
		"OrigVfState":{"HostIFName":"vf0","SpoofChk":true,"Trust":false,"AdminMAC":"00:00:00:00:00:00","EffectiveMAC":"02:00:00:00:00:00",
		"Vlan":0,"VlanQoS":0,"VlanProto":33024,"MinTxRate":0,"MaxTxRate":0,"LinkState":0,"MTU":1500},
		"Master":"pf0","MAC":"","MTU":1500,"vlan":1234,"vlanQoS":0,"vlanProto":"802.1q","deviceID":"0000:21:10.0","VFID":0,
		"min_tx_rate":null,"max_tx_rate":null,"runtimeConfig":{}}`), 0o600))
	must(t, r.Del(t.Context(), cmd("c1", "/ns/a", `{"cniVersion":"0.3.1","name":"net","type":"sriov"}`)))
	r.untouched(t, before)
}

// A call that is killed between making a file and naming it leaves the file; the
// pod's DEL removes its own, and the VF's next end the VF's.
func TestKilledWhileWriting(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	before := r.m.state()
	must(t, os.MkdirAll(filepath.Join(r.Dir, "pci"), 0o700))
	killed, next := cmd("c1", "/ns/a", conf(0, "")), cmd("c2", "/ns/a", conf(0, ""))
	for _, f := range []string{r.cachePath(attachment.Name(killed.ContainerID, killed.IfName)), r.allocationPath(vfAddr(0))} {
		must(t, os.WriteFile(draftPath(f), []byte("{"), 0o600))
	}
	must(t, r.Del(t.Context(), killed))
	_, err := r.Add(t.Context(), next)
	must(t, err)
	must(t, r.Del(t.Context(), next))
	r.untouched(t, before)
}

// A cache file that was cut off with the machine's power goes when it is of an
// earlier run; of this one it stays, and is an error.
func TestDamagedCache(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	args := cmd("c1", "/ns/a", conf(0, ""))
	file := r.cachePath(attachment.Name("lost", "net1"))
	must(t, os.WriteFile(file, nil, 0o600))
	if err := r.GC(t.Context(), args); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged file of this run: %v", err)
	}
	old := r.Boot.Since().Add(-time.Millisecond)
	must(t, os.Chtimes(file, old, old))
	must(t, r.GC(t.Context(), args))
	if files := r.files(t); len(files) != 0 {
		t.Errorf("files left: %v", files)
	}
}
