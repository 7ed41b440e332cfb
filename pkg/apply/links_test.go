package apply

import (
	"errors"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/op"
)

// TestNoLinks: without netlink, whatever needs it says so, and asks for nothing.
func TestNoLinks(t *testing.T) {
	for _, o := range op.All() {
		if err := setLink(t.Context(), NoLinks{}, o, target{}); !errors.Is(err, ErrNoNetlink) {
			t.Errorf("%s: %v", o.Kind(), err)
		}
	}
}
