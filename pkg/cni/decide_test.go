package cni

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// An interface that is as it was is not touched, and one that is not gets what it lacks.
func TestDecideSettling(t *testing.T) {
	t.Parallel()
	mac, other := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	was := returning{att: &attachment.Attachment{
		Original: attachment.Original{HostIFName: "eth0", MTU: 9000, EffectiveMAC: mac.String()},
		Extra:    attachment.Extra{AltNames: []string{"a", "b", "eth0"}},
	}}
	for name, c := range map[string]struct {
		r    returning
		link nl.Link
		want settling
	}{
		"as it was":     {was, nl.Link{Name: "eth0", MTU: 9000, MAC: mac, AltNames: []string{"b", "a"}}, settling{}},
		"nothing known": {returning{att: &attachment.Attachment{}}, nl.Link{Name: "eth0", MTU: 1500, MAC: mac}, settling{}},
		"all of it": {
			was, nl.Link{Name: "net1", MTU: 1500, MAC: other, Up: true, AltNames: []string{"eth0", "b"}},
			settling{down: true, inTheWay: true, name: "eth0", mtu: 9000, mac: mac, altNames: []string{"a"}},
		},
	} {
		got := decideSettling(c.r, c.link, "eth0")
		got.link = nl.Link{}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(settling{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
