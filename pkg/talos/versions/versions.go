package versions

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

// Minor is a minor version of Talos, as far as this project differs between
// them. Sources: the configuration document map of the Talos documentation, and
// the release notes of each version.
type Minor struct {
	Version string // 1.13
	// Kinds are the configuration documents of this version that older ones in
	// the table refuse as unknown, with the keys that we use.
	Kinds map[string][]string
	// RepeatableLists is true when there are documents by name for what used to
	// be lists (modules, inline manifests), which Talos appends to every time a
	// patch is applied.
	RepeatableLists bool
	// NRI is true when containerd's NRI is on by default.
	NRI bool
	// EtcCNIKept is true when /etc/cni survives a reboot.
	EtcCNIKept bool
	// InfiniBandModule is true when the InfiniBand core is a module, so that
	// its parameters are module parameters and not kernel arguments alone.
	InfiniBandModule bool
	// Tested says how this version is covered.
	Tested string
}

// All is the one table of Talos versions, oldest first. manifest.yaml
// declares the first as the oldest that is supported.
func All() []Minor {
	return []Minor{
		{Version: "1.12", EtcCNIKept: true, Tested: "extension loader; patches with machinery v1.12.6"},
		{Version: "1.13", EtcCNIKept: true, Tested: "extension loader and API; patches with machinery v1.13.9"},
		{
			Version: "1.14", NRI: true, RepeatableLists: true, InfiniBandModule: true,
			Kinds: map[string][]string{
				"KernelModuleConfig":         {"name", "parameters"},
				"KubeInlineManifestConfig":   {"name", "manifest"},
				"KubeExternalManifestConfig": {"name", "url", "headers"},
				"KubeNodeConfig":             {"labels", "annotations", "taints"},
				"KubeletConfig":              {"config", "extraArgs"},
				"SysctlConfig":               {"params"},
				"SysfsConfig":                {"params"},
				"UdevRulesConfig":            {"rules"},
			},
			Tested: "extension constraint; patches with machinery v1.14.1; [Talos 1.14.1 in QEMU](../test/lab/README.md)",
		},
	}
}

// Of returns the entry of the table for a version as Talos prints it
// (v1.13.4, 1.14). A version newer than the table is taken as its last entry.
func Of(version string) (Minor, error) {
	want := "v" + strings.TrimPrefix(version, "v")
	if !semver.IsValid(want) {
		return Minor{}, fmt.Errorf("%q is no Talos version: it looks like v1.13.0", version)
	}
	all := All()
	// Of a pre-release too the minor version counts: 1.14.0-rc.1 is a 1.14.
	want = semver.MajorMinor(want)
	for i := range slices.Backward(all) {
		if semver.Compare("v"+all[i].Version, want) <= 0 {
			return all[i], nil
		}
	}
	return Minor{}, fmt.Errorf("version %s of Talos is older than %s, the oldest that the extension supports: upgrade the node first", version, all[0].Version)
}
