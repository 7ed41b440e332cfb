package cni

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestOpenTellsNamespacesApart(t *testing.T) {
	t.Parallel()
	plain := filepath.Join(t.TempDir(), "ns")
	must(t, os.WriteFile(plain, nil, 0o600))
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	for _, path := range []string{plain, fifo, "/dev/null", "/proc/self/ns/mnt", filepath.Join(plain, "x"), "/nowhere", t.TempDir()} {
		if _, err := HostKernel().Open(path); !errors.Is(err, ErrNoNamespace) {
			t.Errorf("%s: %v", path, err)
		}
	}
	ns, err := HostKernel().Open("/proc/self/ns/net")
	must(t, err)
	defer ns.Close()
	a, err := ns.ID()
	must(t, err)
	b, err := HostKernel().Host().ID()
	must(t, err)
	if a != b {
		t.Errorf("the same namespace is %s and %s", a, b)
	}
}

func TestAnnouncements(t *testing.T) {
	t.Parallel()
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	got := hex.EncodeToString(announcement(mac, netip.MustParseAddr("10.0.0.1")))
	if want := "ffffffffffff020000000001080600010800060400010200000000010a000001ffffffffffff0a000001"; got != want {
		t.Errorf("ARP\n got %s\nwant %s", got, want)
	}
	na := announcement(mac, netip.MustParseAddr("fd00::1"))
	if len(na) != 14+40+32 || !bytes.Equal(na[:6], []byte{0x33, 0x33, 0, 0, 0, 1}) || na[14+7] != 255 {
		t.Errorf("NA is %x", na)
	}
	// RFC 1071: the sum over pseudo header and message, checksum included, is 0.
	sum := append(append([]byte{}, na[22:54]...), 0, 0, 0, 32, 0, 0, 0, 58)
	if c := checksum(append(sum, na[54:]...)); c != 0 {
		t.Errorf("checksum is off by %#x", c)
	}
}
