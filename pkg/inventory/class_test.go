package inventory

import (
	"fmt"
	"testing"
)

func TestClasses(t *testing.T) {
	for class, want := range map[string]string{
		"020000": "true true false false", "020700": "true false true false", "028000": "true false false false",
		"120000": "false false false true", "010200": "false false false false", "": "false false false false",
	} {
		f := Function{Class: class}
		if got := fmt.Sprint(f.IsNetwork(), " ", f.IsEthernet(), " ", f.IsInfiniBand(), " ", f.IsAccelerator()); got != want {
			t.Errorf("class %q: network, Ethernet, InfiniBand, accelerator: %s, want %s", class, got, want)
		}
	}
}
