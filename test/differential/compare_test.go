package differential

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// difference is one fact on which the two do not agree; "-" is no such fact.
type difference struct{ path, theirs, ours string }

func (d difference) String() string {
	return d.path + ": theirs " + d.theirs + ", ours " + d.ours
}

// compare lists the differences, sorted. What follows from another is left out:
// below a resource or device that only one has, and the allocations of all
// devices at once where the lists differ.
func compare(theirs, ours observation) []difference {
	keys := slices.Sorted(maps.Keys(maps.Collect(func(yield func(string, bool) bool) {
		for _, o := range []observation{theirs, ours} {
			for k := range o {
				if !yield(k, true) {
					return
				}
			}
		}
	})))
	if theirs["refused"] != ours["refused"] {
		return []difference{{"refused", or(theirs["refused"]), or(ours["refused"])}}
	}
	var out []difference
	var gone []string         // devices that only one has
	uneven := []string{}      // resources with unlike lists of devices that can be had
	lone := map[string]bool{} // resources that only one has
	value := func(k string) (string, string, bool) {
		a, b := or(theirs[k]), or(ours[k])
		return a, b, a != b
	}
	for _, k := range keys {
		a, b, differ := value(k)
		if !differ {
			continue
		}
		name, rest, _ := strings.Cut(strings.TrimPrefix(k, "resource/"), "/device/")
		isDevice := rest != "" && !strings.Contains(rest, "/")
		switch {
		case strings.HasPrefix(k, "resource/") && strings.Count(k, "/") == 2 && (a == "-" || b == "-" || a == streamFailed || b == streamFailed):
			lone[k] = true
		case isDevice && (a == "-" || b == "-"):
			gone = append(gone, rest)
			uneven = append(uneven, "resource/"+name)
		case strings.HasSuffix(k, "/health"):
			uneven = append(uneven, "resource/"+name)
		}
	}
	for _, k := range keys {
		a, b, differ := value(k)
		if !differ {
			continue
		}
		follows := false
		for r := range lone {
			file := strings.ReplaceAll(strings.TrimPrefix(r, "resource/"), "/", "-")
			follows = follows || strings.HasPrefix(k, r+"/") || strings.HasPrefix(k, "devinfo/"+file+"-")
		}
		for _, r := range uneven {
			follows = follows || k == r && !lone[k] ||
				regexp.MustCompile("^"+regexp.QuoteMeta(r)+"/allocate/(all|reversed|two|again)(/|$)").MatchString(k)
		}
		for _, id := range gone {
			follows = follows || strings.Contains(k, id) && !strings.HasSuffix(k, "/device/"+id)
		}
		if !follows {
			out = append(out, difference{k, a, b})
		}
	}
	return out
}

func or(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// allowance says which differences a row of docs/compatibility.md explains. The
// expressions must match the whole; "" is anything.
type allowance struct {
	row                string // the row's first cell
	path, theirs, ours string
}

func (a allowance) covers(d difference) bool {
	for _, p := range [][2]string{{a.path, d.path}, {a.theirs, d.theirs}, {a.ours, d.ours}} {
		if p[0] != "" && !regexp.MustCompile("^(?:"+p[0]+")$").MatchString(p[1]) {
			return false
		}
	}
	return true
}

const document = "../../docs/compatibility.md"

// rows reads the first cell of every row of the document.
func rows(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			out[strings.TrimSpace(cells[1])] = true
		}
	}
	return out
}
