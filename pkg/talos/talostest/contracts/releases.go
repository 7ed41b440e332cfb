package contracts

import (
	"slices"
	"testing"
)

// Release is a Talos version, as far as the tests differ between them.
type Release struct {
	Version string // 1.13
	// Documents is true when there are documents for the parts of Kubernetes and
	// for what used to be lists.
	Documents bool
	// ArgumentLists is true when values of arguments may be lists.
	ArgumentLists bool
}

// Releases are all versions, oldest first.
func Releases() []Release {
	return []Release{
		{Version: "1.12"},
		{Version: "1.13", ArgumentLists: true},
		{Version: "1.14", ArgumentLists: true, Documents: true},
	}
}

// upTo are the releases as old as the version, or older.
func upTo(t *testing.T, version string) []Release {
	t.Helper()
	all := Releases()
	i := slices.IndexFunc(all, func(r Release) bool { return r.Version == version })
	if i < 0 {
		t.Fatalf("version %q is none of %+v", version, all)
	}
	return all[:i+1]
}
