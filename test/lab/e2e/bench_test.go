package e2e

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	benchRounds = 3
	benchVFs    = 7
	// The goal is for real hardware. Under emulation, with two cores for guest
	// and host, only a gross loss can be told from noise.
	benchGoal, benchLimit = 1.05, 2.5
)

// How long it takes to get all VFs of one PF, and of two at a time, from the
// first write to the last VF with its netdev: by the extension, and by a shell
// that does no more than the same writes.
func TestTimeToVFs(t *testing.T) {
	n := node(t)
	// Else it is one write more for the extension, and the first VFs wait for
	// the module of their driver.
	n.run("ip link set ens1 up && ip link set ens2 up")
	cases := [][]string{{pfA}, {pfA, pfB}}
	var ours, shell [2][]time.Duration
	for range benchRounds {
		for i, pfs := range cases {
			took, writes := n.timeExtension(pfs)
			ours[i] = append(ours[i], took)
			if len(pfs) > 1 {
				n.checkOverlap(writes)
			}
		}
	}
	// It reads the machine whenever VFs come: not while the shell is timed.
	n.must(n.Service(ext).Stop(n.ctx()))
	t.Cleanup(func() {
		if err := n.Service(ext).Start(context.Background()); err != nil {
			t.Errorf("start the extension again: %v", err)
		}
	})
	for range benchRounds {
		for i, pfs := range cases {
			shell[i] = append(shell[i], n.timeShell(pfs))
		}
	}
	for i, pfs := range cases {
		a, b := median(ours[i]), median(shell[i])
		ratio := float64(a) / float64(b)
		t.Logf("%d PF, %d VFs each: extension %v %v, shell %v %v: %.2f times (goal on hardware %.2f)",
			len(pfs), benchVFs, a, ours[i], b, shell[i], ratio, benchGoal)
		if ratio > benchLimit {
			t.Errorf("%d PF: the extension takes %.2f times what a shell takes, limit %.2f", len(pfs), ratio, benchLimit)
		}
	}
	t.Logf("2 PFs take %.2f times as long as one by the extension, %.2f times by the shell",
		float64(median(ours[1]))/float64(median(ours[0])), float64(median(shell[1]))/float64(median(shell[0])))
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// written is a line of the extension's log, which has the time of the write's
// end, and how long it took.
var written = regexp.MustCompile(`(?m) time=(\S+) level=INFO msg=written pf=(\S+) .*? took=(\S+) `)

// span is the time from the begin of a write to the kernel's answer.
type span struct{ begin, end time.Time }

// checkOverlap asserts that each PF was written to, and prints how the writes of
// sriov_numvfs lie to each other. Nothing of ours makes one wait for another (that
// is asserted with the model kernel); here the kernel's one lock for all network
// interfaces does, at the write or at the read right before it.
func (n *node_) checkOverlap(writes map[string]span) {
	n.t.Helper()
	var lastBegin, firstEnd time.Time
	for _, w := range writes {
		if w.begin.After(lastBegin) {
			lastBegin = w.begin
		}
		if firstEnd.IsZero() || w.end.Before(firstEnd) {
			firstEnd = w.end
		}
	}
	overlap := firstEnd.Sub(lastBegin)
	if len(writes) < 2 {
		n.t.Errorf("not every PF was written to: %+v", writes)
		return
	}
	if overlap <= 0 {
		n.t.Logf("one PF's write came %v after the end of the other's", -overlap)
	}
	for pf, w := range writes {
		n.t.Logf("%s: sriov_numvfs from %v to %v after the last PF's begin", pf, w.begin.Sub(lastBegin).Round(time.Millisecond), w.end.Sub(lastBegin).Round(time.Millisecond))
	}
}

// timeExtension lets the extension make the VFs, and remove them again. It
// returns the time from the first write to the end of the last, and each PF's
// write of sriov_numvfs.
func (n *node_) timeExtension(pfs []string) (time.Duration, map[string]span) {
	n.t.Helper()
	before, err := n.Service(ext).Log(n.ctx())
	n.must(err)
	// allowUplink: else each PF waits until it was seen for a while without the
	// node's own network, from a time of its own.
	spec := "apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n"
	for i, pf := range pfs {
		spec += fmt.Sprintf("  - match: {pciAddresses: [%q]}\n    allowUplink: true\n    numVFs: %d\n    resourceName: example.com/bench%d\n", pf, benchVFs, i)
	}
	n.document(spec)
	n.allReady(len(pfs))
	log, err := n.Service(ext).Log(n.ctx())
	n.must(err)
	var first, last time.Time
	making := map[string]span{}
	for _, m := range written.FindAllStringSubmatch(log[len(before):], -1) {
		end, err := time.Parse(time.RFC3339Nano, m[1])
		n.must(err)
		took, err := time.ParseDuration(m[3])
		n.must(err)
		begin := end.Add(-took)
		if first.IsZero() || begin.Before(first) {
			first = begin
		}
		if strings.Contains(m[0], "sriov_numvfs") {
			making[m[2]] = span{begin, end}
		}
		if end.After(last) {
			last = end
		}
	}
	if !last.After(first) {
		n.t.Fatalf("no writes in the log:\n%s", log[len(before):])
	}
	// With igb the netdevs come within the write of sriov_numvfs; ready says
	// that none is missing, and here is what the kernel has.
	for _, pf := range pfs {
		if got := n.run("ls -d /sys/bus/pci/devices/" + pf + "/virtfn*/net/* | wc -l"); got != strconv.Itoa(benchVFs) {
			n.t.Fatalf("%s has %s netdevs of VFs, want %d", pf, got, benchVFs)
		}
	}
	n.reset()
	return last.Sub(first), making
}

// timeShell does it by hand, without a fork between the two readings of the clock
// (of hundredths of a second) but for what makes the PFs run in parallel.
func (n *node_) timeShell(pfs []string) time.Duration {
	n.t.Helper()
	out := n.run(fmt.Sprintf(`make_vfs() {
	echo %[1]d >/sys/bus/pci/devices/$1/sriov_numvfs
	while set -- "$1" /sys/bus/pci/devices/$1/virtfn*/net/*; [ $# -le %[1]d ] || [ ! -e "$2" ]; do :; done
}
pfs="%[2]s"
read begin rest </proc/uptime
for pf in $pfs; do make_vfs $pf & done
wait
read end rest </proc/uptime
for pf in $pfs; do echo 0 >/sys/bus/pci/devices/$pf/sriov_numvfs & done
wait
echo $begin $end`, benchVFs, strings.Join(pfs, " ")))
	var begin, end float64
	if _, err := fmt.Sscan(out, &begin, &end); err != nil {
		n.t.Fatalf("the shell printed %q: %v", out, err)
	}
	return time.Duration((end - begin) * float64(time.Second)).Round(10 * time.Millisecond)
}
