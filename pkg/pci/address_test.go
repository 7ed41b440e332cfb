package pci_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/talos-sriov/talos-sriov/pkg/pci"
)

func TestValid(t *testing.T) {
	for s, want := range map[string]bool{
		"0000:01:00.0": true, "0000:ff:1f.7": true, "10000:3b:1f.7": true, "deadbeef:00:00.0": true,
		"": false, "01:00.0": false, "000:01:00.0": false, "123456789:01:00.0": false,
		"0000:01:00.8": false, "0000:01:20.0": false, "0000:1:00.0": false, "0000:01:00": false,
		"0000:0A:00.0": false, "0000:01:00.0\n": false, " 0000:01:00.0": false, "0000:01:00.0#1": false,
		"0000.01:00:0": false, "0000:01:00.00": false, "0000:g1:00.0": false,
	} {
		if got := pci.Valid(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
		if _, got := pci.Parse(s); got != want {
			t.Errorf("Parse(%q): %v", s, got)
		}
	}
}

// Every address reads as it was written, and steps lead there and back.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := pci.Address{
			Domain: rapid.Uint32().Draw(t, "domain"), Bus: rapid.Uint8().Draw(t, "bus"),
			Device: rapid.Uint8Range(0, 31).Draw(t, "device"), Function: rapid.Uint8Range(0, 7).Draw(t, "function"),
		}
		if got, ok := pci.Parse(a.String()); !ok || got != a {
			t.Fatalf("%v reads as %v, %v", a, got, ok)
		}
		n := rapid.IntRange(-70000, 70000).Draw(t, "steps")
		there, ok := a.Plus(n)
		if id := a.RoutingID() + n; ok != (id >= 0 && id <= 0xffff) {
			t.Fatalf("%v and %d: %v", a, n, ok)
		}
		if ok {
			if back, _ := there.Plus(-n); back != a || !pci.Valid(there.String()) {
				t.Fatalf("%v and %d is %v, and back %v", a, n, there, back)
			}
		}
	})
}

func TestPlus(t *testing.T) {
	for _, tc := range []struct {
		from, want string
		n          int
	}{
		{"0000:01:00.0", "0000:01:10.0", 128},
		{"0000:01:00.1", "0000:02:00.0", 255},
		{"10000:e1:00.0", "10000:e1:00.7", 7},
	} {
		a, _ := pci.Parse(tc.from)
		if got, ok := a.Plus(tc.n); !ok || got.String() != tc.want {
			t.Errorf("%s and %d: got %s, %v, want %s", tc.from, tc.n, got, ok, tc.want)
		}
	}
}
