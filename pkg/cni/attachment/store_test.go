package attachment_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/cni/netconf"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

const vf0 = "0000:21:10.0"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t *testing.T) *attachment.Store {
	return &attachment.Store{Dir: t.TempDir(), Pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
}

// A lock that stays taken ends in an error that the runtime tries again after; one
// that the caller gave up on in that.
func TestLockTimesOut(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	must(t, s.Allocate(vf0, "/ns/a"))
	unlock, err := s.Lock(t.Context(), vf0)
	must(t, err)
	_, err = s.Lock(t.Context(), vf0)
	if e, ok := errors.AsType[*fault.Error](err); !ok || e.Code != types.ErrTryAgainLater || e.Hint == "" {
		t.Errorf("a lock that stays taken: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Lock(ctx, vf0); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that gave up: %v", err)
	}
	unlock()
	unlock, err = s.Lock(t.Context(), vf0)
	must(t, err)
	unlock()
}

// What is written is read again, and has the keys of sriov-cni flat, beside one of
// our own.
func TestFormat(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	want := &attachment.Attachment{
		NetConf:  netconf.NetConf{CNIVersion: "1.1.0", Name: "net", Type: "sriov", DeviceID: vf0, MAC: "02:00:00:00:00:01", VLAN: new(5), SpoofChk: "off"},
		Original: attachment.Original{HostIFName: "enp33s0v0", SpoofChk: true, AdminMAC: "00:00:00:00:00:00", VLAN: 3, MTU: 1500},
		Master:   "enp33s0", VFID: 0, File: attachment.Name("c1", "net1"),
		Extra: attachment.Extra{ContainerID: "c1", IfName: "net1", Netns: "/ns/a", Unreported: []attachment.Attribute{attachment.Trust}},
	}
	must(t, s.Save(want))
	got, err := s.Load(want.File)
	must(t, err)
	got.Written = time.Time{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read back (-written +read):\n%s", diff)
	}
	b, err := os.ReadFile(filepath.Join(s.Dir, "c1-net1"))
	must(t, err)
	var flat map[string]any
	must(t, json.Unmarshal(b, &flat))
	for key, value := range map[string]any{"deviceID": vf0, "Master": "enp33s0", "VFID": 0.0, "vlan": 5.0, "MAC": "02:00:00:00:00:01", "spoofchk": "off"} {
		if flat[key] != value {
			t.Errorf("%s is %v, want %v", key, flat[key], value)
		}
	}
	original, _ := flat["OrigVfState"].(map[string]any)
	if original["HostIFName"] != "enp33s0v0" || original["Vlan"] != 3.0 || original["SpoofChk"] != true {
		t.Errorf("OrigVfState is %v", flat["OrigVfState"])
	}
	extra, _ := flat["talosSriov"].(map[string]any)
	if diff := cmp.Diff([]any{"trust"}, extra["unreported"]); diff != "" {
		t.Error(diff)
	}
}

// A copy of an attachment does not change it.
func TestCopies(t *testing.T) {
	t.Parallel()
	a := &attachment.Attachment{Extra: attachment.Extra{Netns: "/ns/a", IfName: "net1"}}
	if b := a.In("/ns/b", "net2"); b.Extra.Netns != "/ns/b" || b.Extra.IfName != "net2" || !a.Trusted().Extra.TrustRaised {
		t.Errorf("%+v", b)
	}
	if a.Extra.Netns != "/ns/a" || a.Extra.IfName != "net1" || a.Extra.TrustRaised {
		t.Errorf("the attachment is now %+v", a)
	}
}

// What a driver does not report is remembered as that.
func TestAttributes(t *testing.T) {
	t.Parallel()
	if o, unreported := attachment.Attributes(nl.VFInfo{VLAN: 5, SpoofCheck: new(true)}); !o.SpoofChk || o.Trust || o.VLAN != 5 || !cmp.Equal(unreported, []attachment.Attribute{attachment.Trust}) {
		t.Errorf("%+v, %v", o, unreported)
	}
}
