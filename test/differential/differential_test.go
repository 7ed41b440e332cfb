package differential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const childVariable = "DIFFERENTIAL_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestDifferential compares sriovd with the other program in every case.
func TestDifferential(t *testing.T) {
	theirs := os.Getenv("SRIOVDP")
	if theirs == "" {
		t.Skip("SRIOVDP does not name a built sriovdp (SR-IOV network device plugin) to compare with")
	}
	if os.Geteuid() != 0 {
		t.Fatal("SRIOVDP is set and this is not root: the programs need namespaces of their own")
	}
	theirs, err := filepath.Abs(theirs)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ours := filepath.Join(dir, "sriovd")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", ours, "./cmd/sriovd")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	byMachine := map[string][]string{}
	for i := range cases {
		byMachine[cases[i].machine] = append(byMachine[cases[i].machine], cases[i].name)
	}
	results := map[string]result{}
	for _, name := range slices.Sorted(maps.Keys(byMachine)) {
		maps.Copy(results, child(t, request{Machine: name, Theirs: theirs, Ours: ours, Cases: byMachine[name], Dir: dir}))
	}

	used := map[string]int{} // row -> differences
	facts, same := 0, 0
	for i := range cases {
		c := &cases[i]
		t.Run(c.name, func(t *testing.T) {
			r := results[c.name]
			facts += len(r.Theirs)
			diffs := compare(r.Theirs, r.Ours)
			if len(diffs) == 0 {
				same++
			}
			hit := make([]bool, len(c.differs))
			for _, d := range diffs {
				row := ""
				for j, a := range c.differs {
					if a.covers(d) {
						row, hit[j] = a.row, true
						break
					}
				}
				for _, a := range always {
					if row == "" && a.covers(d) {
						row = a.row
					}
				}
				if row == "" {
					t.Errorf("not explained: %v", d)
				}
				used[row]++
			}
			for j, a := range c.differs {
				if !hit[j] {
					t.Errorf("there is no difference any more for %+v", a)
				}
			}
			if c.devices >= 0 && count(r.Ours) != c.devices {
				t.Errorf("%d devices here, want %d", count(r.Ours), c.devices)
			}
			if t.Failed() {
				t.Logf("theirs:\n%s\nours:\n%s", lastLines(r.TheirLog, 6), lastLines(r.OurLog, 6))
			}
		})
	}
	t.Logf("%d cases, %d facts of the other program; differences by row:", len(cases), facts)
	for _, row := range slices.Sorted(maps.Keys(used)) {
		t.Logf("%5d  %s", used[row], row)
	}
}

// count is the number of devices of an observation.
func count(o observation) int {
	n := 0
	for k := range o {
		if _, id, ok := strings.Cut(k, "/device/"); ok && !strings.Contains(id, "/") {
			n++
		}
	}
	return n
}

// child runs the cases of one machine in namespaces of their own.
func child(t *testing.T, req request) map[string]result {
	t.Helper()
	in, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	if err := cmd.Run(); err != nil {
		t.Fatalf("machine %s: %v\n%s", req.Machine, err, lastLines(stderr.String(), 40))
	}
	var out map[string]result
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestCases needs no other program: the table is sound, each row that it names
// is in the page of differences, and the page says how many cases there are.
func TestCases(t *testing.T) {
	known := rows(t)
	seen := map[string]bool{}
	check := func(name string, list []allowance) {
		for _, a := range list {
			if !known[a.row] {
				t.Errorf("%s: %s has no row %q", name, document, a.row)
			}
		}
	}
	check("always", always)
	for i := range cases {
		c := &cases[i]
		if seen[c.name] || machines[c.machine] == nil {
			t.Errorf("case %q is given twice, or has no machine %q", c.name, c.machine)
		}
		seen[c.name] = true
		check(c.name, c.differs)
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(\d+)\s+cases`).FindSubmatch(text)
	if m == nil || string(m[1]) != fmt.Sprint(len(cases)) {
		t.Errorf("%s says %q; there are %d cases", document, m, len(cases))
	}
}
