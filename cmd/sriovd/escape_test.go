package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNamesOnTheTerminal: an interface name with an escape sequence, which the
// kernel allows, is printed harmlessly.
func TestNamesOnTheTerminal(t *testing.T) {
	dir := t.TempDir()
	pf := filepath.Join(dir, "devices/pci0000:00/0000:00:01.0")
	name := "eth\x1b[2J0"
	for file, text := range map[string]string{
		"vendor": "0x15b3\n", "device": "0x1021\n", "class": "0x020000\n", "numa_node": "0\n", "sriov_totalvfs": "4\n", "sriov_numvfs": "0\n",
		"net/" + name + "/ifindex": "3\n", "net/" + name + "/address": "b8:3f:d2:00:00:01\n", "net/" + name + "/mtu": "1500\n",
		"net/" + name + "/flags": "0x1003\n", "net/" + name + "/type": "1\n",
	} {
		write(t, filepath.Join(pf, file), text)
	}
	link(t, "../../../devices/pci0000:00/0000:00:01.0", filepath.Join(dir, "bus/pci/devices/0000:00:01.0"))
	link(t, "../../devices/pci0000:00/0000:00:01.0/net/"+name, filepath.Join(dir, "class/net", name))
	link(t, "../../../0000:00:01.0", filepath.Join(pf, "net", name, "device"))
	document := filepath.Join(dir, "document.yaml")
	write(t, document, "apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n  - match: {pciAddresses: [\"0000:00:01.0\"]}\n    numVFs: 2\n    resourceName: a.b/c\n")
	for _, args := range [][]string{
		{"discover", "--sysfs", dir}, {"discover", "--sysfs", dir, "-v"}, {"discover", "--sysfs", dir, "-o", "json"}, {"discover", "--sysfs", dir, "-o", "yaml"},
		{"plan", "--sysfs", dir, "--config", document, "--state-dir", dir, "--kubelet-dir", dir},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), args, strings.NewReader(""), &out, &out); code != exitOK {
			t.Errorf("%v: exit code %d:\n%s", args, code, &out)
		}
		if strings.Contains(out.String(), "\x1b") || !strings.Contains(out.String(), "[2J0") {
			t.Errorf("%v: %q", args, &out)
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}
