package spec_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

const (
	identity = "apiVersion: v1alpha1\nkind: SRIOVConfig\n"
	pfs      = identity + "physicalFunctions:\n"
	onePF    = pfs + "- match: {names: [a]}\n  numVFs: 65535\n"
	list     = identity + "resourceList: [{resourceName: a, selectors: "
	patch    = "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\nconfigFiles:\n"
)

// family writes documents that are near a bound, as large as they may be.
type family struct {
	name       string
	head, tail string
	unit       func(r *rand.Rand, i int) string // repeated between head and tail
}

func same(s string) func(*rand.Rand, int) string { return func(*rand.Rand, int) string { return s } }

func counted(format string) func(*rand.Rand, int) string {
	return func(_ *rand.Rand, i int) string { return fmt.Sprintf(format, i) }
}

// halves writes two texts, each half of the config, of a growing list.
func halves(first, second, unit string, size int) func(*rand.Rand, int) string {
	return func(_ *rand.Rand, i int) string {
		var b strings.Builder
		for k := 0; b.Len() < size/2-1000; k++ {
			fmt.Fprintf(&b, unit, i, k)
		}
		return first + b.String() + second
	}
}

// families returns them for documents of size bytes.
func families(size int) []family {
	return []family{
		{"all VFs for one PF, many entries", pfs, "", same("- {match: {names: [a]}, numVFs: 65535, virtualFunctions: [{indexes: \"0-65534\"}]}\n")},
		{"one PF, many entries", pfs, "", func(r *rand.Rand, _ int) string {
			return fmt.Sprintf("- {match: {names: [a]}, numVFs: %d}\n", r.IntN(1000))
		}},
		{"few PFs, many entries", pfs, "", func(r *rand.Rand, _ int) string {
			return fmt.Sprintf("- {match: {names: [a%d, \"b*\"], vendors: [\"%04x\"]}, numVFs: 1}\n", r.IntN(100), r.IntN(3))
		}},
		{"two long lists of names", pfs, "", halves("- numVFs: 1\n  match: {names: [", "z]}\n", "a%d_%d,", size)},
		{"two long lists of names in common", pfs, "", func(r *rand.Rand, i int) string {
			return fmt.Sprintf("- numVFs: 1\n  match: {pciAddresses: [\"0000:01:00.%d\"], names: [", i%8) + halves("", "z]}\n", "a%[2]d,", size)(r, i)
		}},
		{"a group for each VF", onePF + "  virtualFunctions:\n", "", counted("  - indexes: %d\n")},
		{"groups that overlap", onePF + "  virtualFunctions:\n", "", func(r *rand.Rand, _ int) string {
			first := r.IntN(60000)
			return fmt.Sprintf("  - indexes: \"%d-%d\"\n", first, first+r.IntN(40))
		}},
		{"groups with every other VF", pfs, "", func(r *rand.Rand, _ int) string {
			var b strings.Builder
			for i := r.IntN(2); i < 20000; i += 2 {
				fmt.Fprintf(&b, ",%d", i+2)
			}
			return "- {match: {names: [a]}, numVFs: 65535, virtualFunctions: [{indexes: \"0" + b.String() + "\"}]}\n"
		}},
		{"groups of nothing", onePF + "  virtualFunctions: [", "{}]\n", same("{},")},
		{"groups that are warned of", onePF + "  mtu: 1500\n  virtualFunctions:\n", "", counted("  - {indexes: %d, mtu: 9000}\n")},
		{"optional keys", onePF + "  virtualFunctions: [{indexes: 0, trust: true, optional: [", "trust]}]\n", same("trust,")},
		{"addresses", onePF + "  virtualFunctions:\n  - indexes: \"0-65534\"\n    macAddresses: [", "]\n", func(r *rand.Rand, _ int) string {
			return fmt.Sprintf("\"02:00:00:%02x:%02x:%02x\",", r.IntN(256), r.IntN(256), r.IntN(256))
		}},
		{"entries of nothing", identity + "physicalFunctions: [", "{}]\n", same("{},")},
		{"globs", pfs + "- numVFs: 1\n  match: {names: [", "z]}\n", counted("\"*?[a-f]*%x\",")},
		{"numbers for names", pfs + "- numVFs: 1\n  match: {names: [", "1]}\n", same("1,")},
		{"selectors", list + "[", "{}]}]\n", same("{},")},
		{"resources", identity + "resourceList:\n", "", counted("- {resourceName: a%d, selectors: {}}\n")},
		{"additional information", list + "{}, additionalInfo: {\"*\": {", "z: z}}}]\n", counted("%x: a,")},
		{"ranges of PF names", list + "{pfNames: [\"a#0", "\"]}}]\n", same(",0")},
		{"unknown keys", pfs + "- {", "}\n", counted("%x,")},
		{"misspelt keys", identity, "", counted("physicalFunctionsphysicalFunction%d:\n")},
		{"entries without a value", pfs, "", same("- #\n")},
		{"deep lists", identity + "a: [", "]\n", same(strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + ",")},
		{"deep mappings", identity + "a: [", "]\n", same(strings.Repeat("{a: ", 900) + strings.Repeat("}", 900) + ",")},
		{"a bracket that is not closed", identity + "a: [", "", same("1,\n")},
		{"a bracket too many", identity + "a: [", "1]\n}\n", same("1,")},
		{"an indentation that is wrong", identity + "a:\n", "  - b\n ]\n", same("- a: 1\n")},
		{"anchors and tags", identity + "a: [", "]\n", counted("&a%[1]d ! 1,*a%[1]d,")},
		{"one long line", identity + "a: ", "\n", same("x ")},
		{"many documents", "", "", same("---\nkind: ExtensionServiceConfig\nname: other\nconfigFiles: [{content: \"a: [1\"}]\n")},
		{"contents that are no YAML", "", "", func(_ *rand.Rand, _ int) string {
			return "---\nkind: ExtensionServiceConfig\nname: other\nconfigFiles:\n- content: |\n" + strings.Repeat("    - a: 1\n", 2000) + "    ]\n"
		}},
		{"a content of blanks", patch + "- mountPath: /etc/sriov/config.yaml\n  content: |\n    a:\n", "", func(_ *rand.Rand, i int) string {
			return strings.Repeat(" ", size/2-500) + "x"[:i%2] + "\n"
		}},
		{"entries of configFiles", patch, "", same("- {content: 1, x: 1}\n")},
		{"escapes of JSON", `{"apiVersion":"v1alpha1","kind":"SRIOVConfig","a":"`, `"}`, same(`\/\ud83d\ude00`)},
		{"halves of characters", `{"apiVersion":"v1alpha1","kind":"SRIOVConfig","a":"`, `\ud800"}`, same(`\\ud800`)},
		{"JSON with a comma too many", `{"apiVersion":"v1alpha1","kind":"SRIOVConfig","a":[`, `]}`, same("1,\n")},
	}
}

// write returns the family's document of at most size bytes.
func (f family) write(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	var b bytes.Buffer
	b.WriteString(f.head)
	for i := 0; ; i++ {
		u := f.unit(r, i)
		if u == "" || b.Len()+len(u)+len(f.tail) > size {
			break
		}
		b.WriteString(u)
	}
	b.WriteString(f.tail)
	return b.Bytes()
}

// cpu is the time that this process has used.
func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// budget is the CPU time within which a document of size bytes is judged: a
// second for the largest, more on a machine, or under a race detector, on which
// the YAML library alone needs long for such a document.
func budget(t testing.TB, size int) time.Duration {
	t.Helper()
	doc := family{head: "[", tail: "1]", unit: same("1,")}.write(0, size)
	start := cpu(t)
	if err := yaml.Unmarshal(doc, new(yaml.Node)); err != nil {
		t.Fatal(err)
	}
	return max(time.Second*time.Duration(size)>>20, 6*(cpu(t)-start))
}

// judge does with a file all that is done with one.
func judge(t testing.TB, data []byte) {
	t.Helper()
	c, err := spec.LoadFile("f", data)
	if err != nil {
		var all *spec.Errors
		if !errors.As(err, &all) {
			t.Fatalf("a %T: %v", err, err)
		}
		if err := all.Render(io.Discard, data); err != nil {
			t.Fatal(err)
		}
		if n := len(all.Error()); n > 1<<17 {
			t.Errorf("a report of %d bytes", n)
		}
		return
	}
	if n := len(c.Warnings()); n > 101 {
		t.Errorf("%d warnings", n)
	}
}

// Any document up to the limit of the size is judged within a second of CPU.
func TestJudgedWithinASecond(t *testing.T) {
	size := 1 << 20
	limit := time.Second
	if testing.Short() {
		size /= 16 // within the time of the largest: what does not depend on the size takes as long
	} else if limit = budget(t, size); limit > 4*time.Second {
		size /= 4 // what is not linear shows in a smaller document too
		limit = budget(t, size)
	}
	for n, f := range families(size) {
		t.Run(f.name, func(t *testing.T) {
			doc := f.write(uint64(n), size)
			for try := 1; ; try++ {
				start := cpu(t)
				judge(t, doc)
				used := cpu(t) - start
				if used <= limit {
					return
				}
				// Other work of the process and of the machine only adds.
				if try == 3 {
					t.Fatalf("%d bytes took %v of CPU, at most %v is right", len(doc), used, limit)
				}
				limit = max(limit, budget(t, size))
			}
		})
	}
}

// The cost of entries for one PF was that of the VFs that they name.
func TestHundredEntriesWithAllVFs(t *testing.T) {
	doc := pfs + strings.Repeat("- {match: {names: [a]}, numVFs: 65535, virtualFunctions: [{indexes: \"0-65534\"}]}\n", 100)
	start := cpu(t)
	_, err := spec.Load("f", []byte(doc))
	if used := cpu(t) - start; used > time.Second { // which is never too much
		if limit := budget(t, 1<<20); used > limit {
			t.Errorf("took %v of CPU, at most %v is right", used, limit)
		}
	}
	if err == nil || !strings.Contains(err.Error(), "VFs 0-65534 are in the group at line 4 already") {
		t.Errorf("got %v", err)
	}
}

// What is too much to be compared is refused, not accepted unseen.
func TestTooManyEntriesForOnePF(t *testing.T) {
	_, err := spec.Load("f", []byte(pfs+strings.Repeat("- {match: {names: [a]}, numVFs: 1}\n", 20000)+"- {match: {names: [a]}, numVFs: 2}\n"))
	if err == nil || !strings.Contains(err.Error(), "too many entries have names or addresses in common") {
		t.Errorf("got %v", err)
	}
}

// FuzzDeterminism: the same bytes get the same result, whatever was judged before.
func FuzzDeterminism(f *testing.F) {
	const most = 1 << 16
	f.Add(uint8(0), uint64(0), uint32(most), []byte("numVFs"))
	for i := range families(most) {
		f.Add(uint8(i), uint64(i), uint32(most/8), []byte(nil))
	}
	f.Fuzz(func(t *testing.T, n uint8, seed uint64, size uint32, extra []byte) {
		all := families(most)
		doc := append(all[int(n)%len(all)].write(seed, int(size%most)), extra...)
		before := bytes.Clone(doc)
		judge(t, doc)
		one, err1 := spec.Load("f", doc)
		two, err2 := spec.Load("f", doc)
		if diff := cmp.Diff(one, two); diff != "" || fmt.Sprint(err1) != fmt.Sprint(err2) {
			t.Errorf("judged differently: %s\n%v\n%v", diff, err1, err2)
		}
		if !bytes.Equal(before, doc) {
			t.Error("the config was changed")
		}
	})
}
