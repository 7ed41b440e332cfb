package spec

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Range is a closed interval of function indexes, from 0.
type Range struct{ First, Last int }

// String returns "3" or "3-5".
func (r Range) String() string {
	if r.First == r.Last {
		return strconv.Itoa(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Ranges is one entry of pfNames or rootDevices: a name, and which functions
// below it are meant.
type Ranges struct {
	Name string // as written
	All  bool   // no "#": every function
	List []Range
}

// Contains reports whether the function with this index is meant. A negative
// index, a device that is no function of anything, is in no range.
func (r Ranges) Contains(index int) bool {
	if r.All {
		return true
	}
	return slices.ContainsFunc(r.List, func(x Range) bool { return index >= 0 && x.First <= index && index <= x.Last })
}

// ParseRanges reads "name" or "name#a,b-c,d", the grammar of pfNames and
// rootDevices in the SR-IOV network device plugin: indexes from 0, ranges
// inclusive, no spaces.
func ParseRanges(s string) (Ranges, error) {
	name, list, found := strings.Cut(s, "#")
	if name == "" {
		return Ranges{}, errors.New("the name is missing")
	}
	if strings.ContainsAny(name, " \t") {
		return Ranges{}, errors.New("the name contains a space")
	}
	if !found {
		return Ranges{Name: name, All: true}, nil
	}
	if list == "" {
		return Ranges{}, errors.New(`there is nothing after "#"`)
	}
	if strings.Contains(list, "#") {
		return Ranges{}, errors.New(`there is more than one "#"`)
	}
	ranges, err := parseIndexRanges(list)
	if err != nil {
		return Ranges{}, err
	}
	return Ranges{Name: name, List: ranges}, nil
}

// parseIndexRanges reads "a,b-c,d".
func parseIndexRanges(s string) ([]Range, error) {
	if s == "" {
		return nil, errors.New("no index is given")
	}
	if strings.ContainsAny(s, " \t") {
		return nil, errors.New("spaces are not allowed between indexes")
	}
	var out []Range
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, err := parseIndex(first, part)
		if err != nil {
			return nil, err
		}
		b, err := parseIndex(last, part)
		if err != nil {
			return nil, err
		}
		if a > b {
			return nil, fmt.Errorf("the range %s runs backwards", part)
		}
		out = append(out, Range{First: a, Last: b})
	}
	return out, nil
}

func parseIndex(s, part string) (int, error) {
	if part == "" {
		return 0, errors.New("there is nothing between two commas, or before or after one")
	}
	if s == "" {
		return 0, fmt.Errorf("%s lacks one end of the range", quote(part))
	}
	if strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("%s is neither an index nor a range", quote(part))
	}
	n, err := strconv.Atoi(s)
	if err != nil || n > maxVFs {
		return 0, fmt.Errorf("the index %s is beyond %d, the most that a PF can have", short(s), maxVFs)
	}
	return n, nil
}

// String returns the set as ranges: "0-3,6".
func (s IndexSet) String() string { return rangesText(s.ranges()) }

// ranges returns the set as the fewest ranges, in ascending order.
func (s IndexSet) ranges() []Range {
	var out []Range
	for _, i := range s {
		if n := len(out); n > 0 && out[n-1].Last+1 == i {
			out[n-1].Last = i
			continue
		}
		out = append(out, Range{First: i, Last: i})
	}
	return out
}

func rangesText(list []Range) string {
	texts := make([]string, len(list))
	for i, r := range list {
		texts[i] = r.String()
	}
	return strings.Join(texts, ",")
}

// vfsAre returns "VF 3 is" or "VFs 0-3,6 are", for a sentence. A long list is
// cut off.
func vfsAre(list []Range) string {
	const shown = 16
	switch {
	case len(list) == 1 && list[0].First == list[0].Last:
		return "VF " + list[0].String() + " is"
	case len(list) > shown:
		return "VFs " + rangesText(list[:shown]) + ",... are"
	}
	return "VFs " + rangesText(list) + " are"
}

// overlap returns two of the ranges that share an index, in the order in which
// they are given.
func overlap(list []Range) (a, b Range, found bool) {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Or(cmp.Compare(list[i].First, list[j].First), cmp.Compare(i, j)) })
	for k := 1; k < len(order); k++ {
		// Those before do not overlap, so that the last of them reaches furthest.
		if i, j := order[k-1], order[k]; list[j].First <= list[i].Last {
			return list[min(i, j)], list[max(i, j)], true
		}
	}
	return Range{}, Range{}, false
}

// owners is the first group of an entry that names a VF, by VF index.
type owners map[int]int

// claim gives group the VFs of set that no group has. It returns the lowest
// group that has one of them already, or -1.
func (o owners) claim(set IndexSet, group int) int {
	first := -1
	for _, i := range set {
		if owner, taken := o[i]; !taken {
			o[i] = group
		} else if first < 0 || owner < first {
			first = owner
		}
	}
	return first
}

// of returns the VFs of set that group has.
func (o owners) of(set IndexSet, group int) IndexSet {
	return slices.DeleteFunc(slices.Clone(set), func(i int) bool { return o[i] != group })
}

// Contains reports whether the VF with this index is in the set.
func (s IndexSet) Contains(index int) bool {
	_, found := slices.BinarySearch(s, index)
	return found
}
