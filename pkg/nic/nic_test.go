package nic

import (
	"regexp"
	"strings"
	"testing"
)

// The table is written by hand: every id must be one, and no PF may be two
// products.
func TestTableIsWellFormed(t *testing.T) {
	id := regexp.MustCompile(`^[0-9a-f]{4}$`)
	seen := map[string]string{}
	known := map[string]bool{"": true}
	for _, b := range behaviours {
		if known[b.Driver] {
			t.Errorf("driver %q is in the table twice", b.Driver)
		}
		known[b.Driver] = true
		if b.Eswitch == "" {
			t.Errorf("driver %s: no eswitch order", b.Driver)
		}
	}
	for m := range All() {
		if !id.MatchString(m.Vendor) || !id.MatchString(m.PF) || !id.MatchString(m.VF) {
			t.Errorf("%+v: an id is not 4 lower-case hex digits", m)
		}
		if other, ok := seen[m.Vendor+m.PF]; ok {
			t.Errorf("%s:%s is both %q and %q", m.Vendor, m.PF, other, m.Name)
		}
		seen[m.Vendor+m.PF] = m.Name
		if !known[m.Driver] {
			t.Errorf("%s: driver %q has no behaviour", m.Name, m.Driver)
		}
	}
}

func TestLookup(t *testing.T) {
	for _, tc := range []struct{ vendor, pf, vf, name, driver string }{
		{"15b3", "1021", "101e", "NVIDIA ConnectX-7", "mlx5_core"},
		{"8086", "159b", "1889", "Intel E810-XXV SFP", "ice"},
		{"8086", "1572", "154c", "Intel X710 SFP+", "i40e"},
		{"8086", "10c9", "10ca", "Intel 82576", "igb"},
		{"8086", "10fb", "10ed", "Intel 82599", "ixgbe"},
		{"8086", "1528", "1515", "Intel X540", "ixgbe"},
		{"8086", "1521", "1520", "Intel I350", "igb"},
		{"8086", "15c4", "15c5", "Intel X553", "ixgbe"},
		{"14e4", "1750", "1806", "Broadcom BCM57508", "bnxt_en"},
	} {
		m, ok := ByPF(tc.vendor, tc.pf)
		if want := (Model{tc.vendor, tc.pf, tc.vf, tc.name, tc.driver}); !ok || m != want {
			t.Errorf("ByPF(%s, %s) = %+v, %v; want %+v", tc.vendor, tc.pf, m, ok, want)
		}
		if m, ok := ByVF(tc.vendor, tc.vf); !ok || m.Driver != tc.driver {
			t.Errorf("ByVF(%s, %s) = %+v, %v; want driver %s", tc.vendor, tc.vf, m, ok, tc.driver)
		}
	}
}

// What the table does not know is not refused: the zero answers say "ask".
func TestUnknownIsGeneric(t *testing.T) {
	if m, ok := ByPF("dead", "beef"); ok {
		t.Errorf("ByPF of made-up ids = %+v", m)
	}
	b := ForDriver("somenic")
	if b.Driver != "somenic" || b.Eswitch != OrderVFsFirst || b.MinRate != Unknown || b.LinkState != Unknown {
		t.Errorf("ForDriver of an unknown driver = %+v", b)
	}
	if got := Name("dead", "beef"); got != "dead:beef" {
		t.Errorf("Name = %q", got)
	}
}

func TestName(t *testing.T) {
	for _, tc := range []struct{ vendor, device, want string }{
		{"15b3", "1021", "NVIDIA ConnectX-7"},
		{"15b3", "101e", "NVIDIA mlx5_core VF"},
		{"8086", "10ca", "Intel igbvf VF"},
		{"1d0f", "ec20", "Amazon ENA"},
	} {
		if got := Name(tc.vendor, tc.device); got != tc.want {
			t.Errorf("Name(%s, %s) = %q, want %q", tc.vendor, tc.device, got, tc.want)
		}
	}
}

// Facts that later code relies on, each seen on a kernel or in its source.
func TestBehaviour(t *testing.T) {
	if b := ForDriver("igb"); b.LinkState != No || b.VLAN8021AD != No || b.MinRate != No || b.Trust != Yes || b.VFModule != "igbvf" {
		t.Errorf("igb = %+v", b)
	}
	if b := ForDriver("ice"); b.Eswitch != OrderModeFirst || b.VFModule != "iavf" {
		t.Errorf("ice = %+v", b)
	}
	if b := ForDriver("mlx5_core"); b.Eswitch != OrderVFsFirst || b.GUIDs != Yes || b.VFModule != "" {
		t.Errorf("mlx5_core = %+v", b)
	}
	if b := ForDriver("netdevsim"); b.MaxRate != No || b.LinkState != Yes || b.VLAN8021AD != Yes {
		t.Errorf("netdevsim = %+v", b)
	}
}

// An id is a VF's alone when no PF of the table has it.
func TestOnlyVF(t *testing.T) {
	for id, want := range map[string]bool{"15b3:101e": true, "15b3:1021": false, "8086:1889": true, "1d0f:ec20": false, "1af4:1041": false, "ffff:0001": false} {
		vendor, device, _ := strings.Cut(id, ":")
		if got := OnlyVF(vendor, device); got != want {
			t.Errorf("%s: %v, want %v", id, got, want)
		}
	}
}
