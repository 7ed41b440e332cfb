package install

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/talos-sriov/talos-sriov/pkg/install/outcome"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

func TestDecide(t *testing.T) {
	const path = "/opt/cni/bin/sriov"
	own := installed{path, "own", "1.2.0"}
	record := []installed{{path, "old", "1.1.0"}, {path, "new", "1.3.0"}, {path, "dev", "dev"}, {"/opt/elsewhere/sriov", "stranger", "1.0.0"}}
	is := func(sum string) found { return found{file, sum} }
	for _, tc := range []struct {
		name string
		want spec.CNIInstall
		f    found
		act  action
		r    outcome.CNI
	}{
		{"nothing there", "true", found{}, put, outcome.CNI{State: outcome.Installed, Owner: outcome.Extension, Version: "1.2.0"}},
		{"in place", "true", is("own"), keep, outcome.CNI{State: outcome.Installed, Owner: outcome.Extension, Version: "1.2.0"}},
		{"in place, force", "force", is("own"), keep, outcome.CNI{State: outcome.Installed, Owner: outcome.Extension, Version: "1.2.0"}},
		{"older of ours", "true", is("old"), put, outcome.CNI{State: outcome.Installed, Owner: outcome.Extension, Version: "1.2.0"}},
		{"of ours, not comparable", "true", is("dev"), put, outcome.CNI{State: outcome.Installed, Owner: outcome.Extension, Version: "1.2.0"}},
		{"newer of ours", "true", is("new"), keep, outcome.CNI{State: outcome.Newer, Owner: outcome.Extension, Version: "1.3.0"}},
		{"newer of ours, force", "force", is("new"), put, outcome.CNI{State: outcome.Installed, Owner: outcome.Extension, Version: "1.2.0"}},
		{"foreign", "true", is("theirs"), keep, outcome.CNI{State: outcome.Foreign, Owner: outcome.Other}},
		{"ours, but of another place", "true", is("stranger"), keep, outcome.CNI{State: outcome.Foreign, Owner: outcome.Other}},
		{"foreign, force", "force", is("theirs"), put, outcome.CNI{State: outcome.Installed, Owner: outcome.Extension, Version: "1.2.0"}},
		{"link", "true", found{kind: "symbolic link"}, keep, outcome.CNI{State: outcome.Foreign, Owner: outcome.Other}},
		{"link, force", "force", found{kind: "symbolic link"}, put, outcome.CNI{State: outcome.Installed, Owner: outcome.Extension, Version: "1.2.0"}},
		{"directory, force", "force", found{kind: directory}, keep, outcome.CNI{State: outcome.Foreign, Owner: outcome.Other}},
		{"off, ours", "false", is("own"), remove, outcome.CNI{State: outcome.Off, Owner: outcome.Nobody}},
		{"off, older of ours", "false", is("old"), remove, outcome.CNI{State: outcome.Off, Owner: outcome.Nobody}},
		{"off, newer of ours", "false", is("new"), remove, outcome.CNI{State: outcome.Off, Owner: outcome.Nobody}},
		{"off, foreign", "false", is("theirs"), keep, outcome.CNI{State: outcome.Off, Owner: outcome.Other}},
		{"off, nothing", "false", found{}, keep, outcome.CNI{State: outcome.Off, Owner: outcome.Nobody}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			act, r := decide(tc.want, tc.f, record, own)
			tc.r.Path = path
			if diff := cmp.Diff(tc.r, r, cmpopts.IgnoreFields(outcome.CNI{}, "Reason", "Hint")); diff != "" || act != tc.act {
				t.Errorf("action %d, want %d; report (-want +got):\n%s", act, tc.act, diff)
			}
			if (r.State == outcome.Foreign || r.State == outcome.Newer) != (r.Reason != "" && r.Hint != "") {
				t.Errorf("%s with reason %q and hint %q", r.State, r.Reason, r.Hint)
			}
		})
	}
}

func TestNewer(t *testing.T) {
	ascending := []string{
		"0.1.0-1", "0.1.0-alpha", "0.1.0-alpha.1", "0.1.0-alpha.beta", "0.1.0-beta.2", "0.1.0-beta.11",
		"v0.1.0-rc.1", "0.1.0-rc.9", "0.1.0-rc.10", "v0.1.0-rc.10.1", "0.1.0-rc1", "0.1.0", "0.1.1", "0.2.0+build.7", "0.10.0", "1.0.0",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			if got := newer(a, b); got != (i > j) {
				t.Errorf("newer(%s, %s) = %v", a, b, got)
			}
		}
		for _, none := range []string{"", "dev", "1.0", "1.0.0.0", "1.x.0", "-1.0.0", "v", "1", "01.0.0", "1.0.0-rc.01", "1.0.0-", "1.0.0+", "vv1.0.0"} {
			if newer(a, none) || newer(none, a) {
				t.Errorf("%s and %q were compared", a, none)
			}
		}
	}
}
