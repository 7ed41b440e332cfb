package install

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/talos-sriov/talos-sriov/pkg/install/outcome"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// Name is the file name of the plugin: what `"type": "sriov"` in a network's
// configuration makes the container runtime look for.
const Name = "sriov"

// found is what has the plugin's name.
type found struct {
	// kind is "" for nothing, "file" for a regular file, else what it is.
	kind string
	sum  string // of a file
}

// installed is one program that was put somewhere by this package.
type installed struct {
	Path    string `json:"path"` // as the host sees it
	Sum     string `json:"sha256"`
	Version string `json:"version"`
}

// action is what has to be done to the place.
type action int

const (
	keep action = iota
	put
	remove
)

// ours looks the program up among those that were installed there.
func ours(record []installed, path, sum string) (installed, bool) {
	for _, p := range slices.Backward(record) {
		if p.Path == path && p.Sum == sum {
			return p, true
		}
	}
	return installed{}, false
}

// decide says what to do with the plugin's place, and what the report is once
// that is done. own is the image's program, meant for own.Path.
func decide(want spec.CNIInstall, f found, record []installed, own installed) (action, outcome.CNI) {
	r := outcome.CNI{State: outcome.Installed, Owner: outcome.Extension, Path: own.Path, Version: own.Version}
	foreign := func(reason, hint string) (action, outcome.CNI) {
		return keep, outcome.CNI{State: outcome.Foreign, Owner: outcome.Other, Path: own.Path, Reason: reason, Hint: hint}
	}
	was, mine := ours(record, own.Path, f.sum)
	if f.kind == file && f.sum == own.Sum {
		was, mine = own, true
	}
	if want == spec.CNIInstallOff {
		off := outcome.CNI{State: outcome.Off, Owner: outcome.Nobody, Path: own.Path}
		if mine {
			return remove, off
		}
		if f.kind != "" {
			off.Owner = outcome.Other
		}
		return keep, off
	}
	force := want == spec.CNIInstallForce
	switch {
	case f.kind == "":
		return put, r
	case f.kind == directory:
		return foreign("a directory has the plugin's name, which not even force replaces", "remove "+own.Path)
	case mine && f.sum == own.Sum:
		return keep, r
	case force, mine && !newer(was.Version, own.Version):
		return put, r
	case mine:
		return keep, outcome.CNI{
			State: outcome.Newer, Owner: outcome.Extension, Path: own.Path, Version: was.Version,
			Reason: fmt.Sprintf("version %s was installed by a newer extension than this one, which has %s", was.Version, own.Version),
			Hint:   "nothing, if the extension is going to be upgraded again; cni: {install: force} puts the older one there",
		}
	}
	return foreign("a "+f.kind+" of this name was there that the extension did not install",
		"cni: {install: force} replaces it; cni: {install: false} says that it is meant to be used")
}

// newer reports whether version a is above b, as https://semver.org has it:
// numeric parts of a pre-release compare as numbers, and rc.10 is above rc.9.
// Versions that are not of the form MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD] cannot
// be compared, and are not newer.
func newer(a, b string) bool {
	x, okA := canonical(a)
	y, okB := canonical(b)
	return okA && okB && semver.Compare(x, y) > 0
}

// canonical is the version as the library writes it, with "v" and without build
// metadata. The library takes v1 and v1.2 as short for v1.0.0 and v1.2.0, which
// no release of the extension is called.
func canonical(version string) (string, bool) {
	v := "v" + strings.TrimPrefix(version, "v")
	full := semver.Canonical(v)
	return full, full != "" && full == strings.TrimSuffix(v, semver.Build(v))
}
