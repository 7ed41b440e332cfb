package cni

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const benchRounds = 7

// How long ADD and DEL take, from the program's start to its end, beside the
// program of sriov-cni. In a round each of the two attaches all VFs of the
// card, one after the other, and detaches them again.
func TestTimes(t *testing.T) {
	needUpstream(t)
	const goal = 0.7
	for _, tt := range []struct{ name, more string }{
		{"plain", ""},
		{"attributes", `"vlan":100,"spoofchk":"off","trust":"on"`},
		{"host-local", `"ipam":{"type":"host-local","dataDir":"/run/cni/ipam","ranges":[[{"subnet":"10.100.0.0/24"}]]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			begin(t, maxVFs)
			times := map[string][]time.Duration{}
			for range benchRounds {
				for _, plugin := range []string{ours, theirs} {
					for _, verb := range []string{"ADD", "DEL"} {
						times[plugin+verb] = append(times[plugin+verb], timed(t, plugin, verb, tt.more))
					}
				}
			}
			for _, verb := range []string{"ADD", "DEL"} {
				a, b := median(times[ours+verb]), median(times[theirs+verb])
				c, d := slices.Min(times[ours+verb]), slices.Min(times[theirs+verb])
				t.Logf("%-10s %s: median %v, sriov-cni %v: %.2f times; fastest %v, %v: %.2f times (goal %.2f); rounds %v, %v",
					tt.name, verb, a, b, float64(a)/float64(b), c, d, float64(c)/float64(d), goal, times[ours+verb], times[theirs+verb])
			}
		})
	}
}

// timed is how long one call takes, the mean over the VFs. The clock has
// hundredths of a second; the shell starts nothing but the plugin meanwhile.
func timed(t *testing.T, plugin, verb, more string) time.Duration {
	t.Helper()
	var s strings.Builder
	s.WriteString("read begin rest </proc/uptime\n")
	for i := range maxVFs {
		fmt.Fprintf(&s, "{ %s} >/run/cni/out || { cat /run/cni/out; exit 1; }\n", command(plugin, verb, i, conf(i, more)))
	}
	s.WriteString("read end rest </proc/uptime\necho $begin $end")
	var begin, end float64
	if out := sh(t, s.String()); out == "" {
		t.Fatal("the shell printed nothing")
	} else if _, err := fmt.Sscan(out, &begin, &end); err != nil {
		t.Fatalf("the shell printed %q: %v", out, err)
	}
	return time.Duration((end - begin) / maxVFs * float64(time.Second)).Round(100 * time.Microsecond)
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
