package delegate_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cni100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/talos-sriov/talos-sriov/pkg/cni/delegate"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An IPAM plugin that is this very program is never run. As a CNI plugin, this
// program records that it was.
func TestMain(m *testing.M) {
	if seen := os.Getenv("TEST_RAN_ITSELF"); seen != "" && os.Getenv("CNI_COMMAND") != "" {
		if err := os.WriteFile(seen, nil, 0o600); err != nil {
			panic(err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestPluginItselfIsNoIPAMPlugin(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	must(t, err)
	must(t, os.Symlink(exe, filepath.Join(dir, "sriov")))
	seen := filepath.Join(dir, "seen")
	ipam, stdin := delegate.IPAM{}, []byte(`{"cniVersion":"1.1.0","name":"net","type":"sriov","ipam":{"type":"sriov"}}`)
	for name, call := range map[string]func() error{
		"":       func() error { return ipam.Find("sriov") },
		"ADD":    func() error { _, err := ipam.Add(t.Context(), "sriov", stdin); return err },
		"DEL":    func() error { return ipam.Run(t.Context(), "DEL", "sriov", stdin) },
		"CHECK":  func() error { return ipam.Run(t.Context(), "CHECK", "sriov", stdin) },
		"STATUS": func() error { return ipam.Run(t.Context(), "STATUS", "sriov", stdin) },
		"GC":     func() error { return ipam.Run(t.Context(), "GC", "sriov", stdin) },
	} {
		for k, v := range map[string]string{
			"CNI_COMMAND": name, "CNI_PATH": dir, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/ns/a", "CNI_IFNAME": "net1", "TEST_RAN_ITSELF": seen,
		} {
			t.Setenv(k, v)
		}
		if err := call(); !errors.Is(err, delegate.ErrItself) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(seen); err == nil {
		t.Error("the plugin ran itself")
	}
}

// The IPAM plugin is found in CNI_PATH by its type, whatever it is called, and
// gets the command, the environment and the configuration as they came.
func TestDelegate(t *testing.T) {
	for _, plugin := range []string{"host-local", "static", "dhcp", "whereabouts"} {
		t.Run(plugin, func(t *testing.T) {
			dir := t.TempDir()
			seen := filepath.Join(dir, "seen")
			script := "#!/bin/sh\n{ echo $CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS; cat; echo; } >>" + seen + "\n" +
				`[ $CNI_COMMAND != ADD ] || echo '{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.2/24"}]}'` + "\n"
			must(t, os.WriteFile(filepath.Join(dir, plugin), []byte(script), 0o755))
			for k, v := range map[string]string{
				"CNI_PATH": "/nowhere:" + dir, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/ns/a", "CNI_IFNAME": "net1", "CNI_ARGS": "K8S_POD_NAME=web",
			} {
				t.Setenv(k, v)
			}
			stdin := `{"cniVersion":"1.1.0","name":"net","type":"sriov","deviceID":"0000:21:10.0","ipam":{"type":"` + plugin + `","more":[1]},"runtimeConfig":{"ips":["10.1.0.2/24"]}}`
			r, err := delegate.IPAM{}.Add(t.Context(), plugin, []byte(stdin))
			must(t, err)
			result, err := cni100.NewResultFromResult(r)
			must(t, err)
			if len(result.IPs) != 1 || result.IPs[0].Address.String() != "10.1.0.2/24" {
				t.Errorf("result is %+v", result)
			}
			for _, command := range []string{"CHECK", "DEL", "STATUS", "GC"} {
				must(t, delegate.IPAM{}.Run(t.Context(), command, plugin, []byte(stdin)))
			}
			b, err := os.ReadFile(seen)
			must(t, err)
			var want strings.Builder
			for _, verb := range []string{"ADD", "CHECK", "DEL", "STATUS", "GC"} {
				want.WriteString(verb + " c1 /ns/a net1 K8S_POD_NAME=web\n" + stdin + "\n")
			}
			if string(b) != want.String() {
				t.Errorf("the plugin got\n%s\nwant\n%s", b, want.String())
			}
		})
	}
	t.Setenv("CNI_PATH", t.TempDir())
	if _, err := (delegate.IPAM{}).Add(t.Context(), "host-local", []byte(`{"cniVersion":"1.1.0","name":"net"}`)); err == nil || !strings.Contains(err.Error(), "host-local") {
		t.Errorf("a plugin that is not there: %v", err)
	}
}
