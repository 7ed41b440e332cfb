package netconf_test

import (
	"net"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
	"github.com/talos-sriov/talos-sriov/pkg/cni/netconf"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// Whatever comes in, it is either accepted with values that a VF can have, or an
// error with a code.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.1.0","name":"net","type":"sriov","deviceID":"0000:21:10.0","vlan":100,"vlanQoS":3,"mac":"02:00:00:00:00:AA",
		"spoofchk":"off","trust":"on","link_state":"enable","min_tx_rate":10,"max_tx_rate":100,"mtu":9000,"rdma":true,"ipam":{"type":"host-local"}}`),
		"MAC=02:00:00:00:00:01;IgnoreUnknown=1")
	f.Add([]byte(`{"deviceID":"21:10.0"}`), "")
	f.Fuzz(func(t *testing.T, b []byte, args string) {
		c, err := netconf.Parse(b)
		if err == nil && (c.VLAN != nil && (*c.VLAN < 0 || *c.VLAN > 4094) || !sysfs.IsPCIAddress(c.DeviceID)) {
			t.Errorf("accepted %+v", c)
		}
		if err != nil && fault.AsCNI(err).Code == 0 {
			t.Errorf("%v has no code", err)
		}
		if mac, err := netconf.ParseArgs(args); err == nil && mac != "" {
			if hw, err := net.ParseMAC(mac); err != nil || len(hw) != 6 || hw[0]&1 != 0 {
				t.Errorf("accepted MAC %q: %v", mac, err)
			}
		}
	})
}
