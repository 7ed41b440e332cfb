package spec

import (
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
func (s IndexSet) String() string {
	var b strings.Builder
	for i := 0; i < len(s); {
		j := i
		for j+1 < len(s) && s[j+1] == s[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(Range{s[i], s[j]}.String())
		i = j + 1
	}
	return b.String()
}

// Contains reports whether the VF with this index is in the set.
func (s IndexSet) Contains(index int) bool {
	_, found := slices.BinarySearch(s, index)
	return found
}
