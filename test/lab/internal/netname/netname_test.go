package netname

import "testing"

func TestName(t *testing.T) {
	for _, tc := range []struct {
		d    Device
		want string
	}{
		{Device{Address: "0000:21:00.0", VF: -1}, "enp33s0"},
		{Device{Address: "0000:41:00.0", VF: 3}, "enp65s0v3"},
		{Device{Address: "0000:00:03.0", VF: -1}, "enp0s3"},
		{Device{Address: "0002:01:00.1", VF: -1}, "enP2p1s0f1"},
		{Device{Address: "0000:01:00.0", VF: -1, MultiFunction: true, PortName: "p0"}, "enp1s0f0np0"},
		{Device{Address: "nonsense", VF: -1}, ""},
		{Device{Address: "0000:zz:00.0", VF: -1}, ""},
	} {
		got, err := tc.d.Name()
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%+v: got %q, %v, want %q", tc.d, got, err, tc.want)
		}
	}
}
