package versions_test

import (
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

func TestOf(t *testing.T) {
	for version, want := range map[string]string{
		"v1.12.0": "1.12", "1.12": "1.12", "v1.13.9": "1.13", "v1.14.0-rc.1": "1.14", "1.15.0": "1.14", "2.0": "1.14", "v99999999999999999999.1": "1.14",
	} {
		got, err := versions.Of(version)
		if err != nil || got.Version != want {
			t.Errorf("%s: got %s, %v, want %s", version, got.Version, err, want)
		}
	}
	for version, want := range map[string]string{
		"1.11.3": "older than 1.12", "latest": "no Talos version", "": "no Talos version", "v1.13.0.1": "no Talos version", "1.x": "no Talos version",
	} {
		if _, err := versions.Of(version); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", version, err, want)
		}
	}
}
