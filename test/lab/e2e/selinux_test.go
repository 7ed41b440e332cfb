package e2e

import (
	"strings"
	"testing"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

// TestSELinux boots with Talos' policy in permissive mode, as Talos does by default: the
// extension runs under the label that Talos gives extensions, and makes and offers its
// VFs. Talos' own build labels the files of its root image and the lab's does not, so
// what the policy would deny here says nothing of a node; the log has it.
func TestSELinux(t *testing.T) {
	n := boot(t, lab.Options{
		Document:   patch(vfs(pfA, 4)),
		KernelArgs: []string{"selinux=1", "enforcing=0", "lsm=landlock,lockdown,yama,safesetid,selinux,bpf"},
	})
	n.allocatable(4)
	if got := n.run("cat /sys/fs/selinux/enforce"); got != "0" {
		t.Fatalf("/sys/fs/selinux/enforce is %q, want the 0 of permissive", got)
	}
	label := n.run("for p in /proc/[0-9]*; do if [ \"$(cat $p/comm)\" = sriovd ]; then cat $p/attr/current; break; fi; done")
	if want := "system_u:system_r:unconfined_container_t:s0"; strings.Trim(label, "\x00\n") != want {
		t.Errorf("the extension runs as %q, want %s", label, want)
	}
	n.pod("one", 1)
	n.running("one")
	t.Logf("denials that were logged for the extension:\n%s", n.run("dmesg | grep 'avc: .*comm=\"sriovd\"' | sed 's/.*avc:/avc:/' | sort | uniq -c | sort -rn | head -40"))
}
