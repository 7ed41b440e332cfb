package lab

import "testing"

func TestReadOnlyMounts(t *testing.T) {
	const good = "/dev/vda / squashfs ro,relatime 0 0\n/dev/vdc /var ext4 rw,nosuid 0 0\noverlay /opt overlay rw 0 0\n" +
		"overlay /usr/local/lib/containers/x overlay rw,relatime 0 0\n/dev/vdb /usr/local squashfs ro 0 0\ntmpfs /run tmpfs rw 0 0\n"
	for name, tc := range map[string]struct {
		table string
		ok    bool
	}{
		"as it must be":     {good, true},
		"root writable":     {"/dev/vda / ext4 rw 0 0\n", false},
		"tmpfs on /etc":     {good + "tmpfs /etc tmpfs rw 0 0\n", false},
		"not really /var":   {good + "tmpfs /variant tmpfs rw 0 0\n", false},
		"no root":           {"tmpfs /run tmpfs rw 0 0\n", false},
		"read-only on /etc": {good + "tmpfs /etc/x tmpfs ro,size=1 0 0\n", true},
	} {
		if err := readOnlyMounts(tc.table); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
