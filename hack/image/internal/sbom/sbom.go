package sbom

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Module is one linked module.
type Module struct {
	Path    string
	Version string
	Sum     string // h1: checksum as in go.sum, "" for the main module
	Licence string // SPDX identifier
}

// Main is the project itself in the document.
type Main struct {
	Name    string // sriov
	Version string // of manifest.yaml
	Module  string // github.com/...
	Licence string
}

// Linked returns the modules that are linked into any of the binaries, sorted,
// without licences, and the version of the Go toolchain. The main module is
// not among them.
func Linked(binaries map[string][]byte) (modules []Module, goVersion string, err error) {
	found := make(map[string]Module)
	for _, name := range slices.Sorted(maps.Keys(binaries)) {
		info, err := buildinfo.Read(bytes.NewReader(binaries[name]))
		if err != nil {
			return nil, "", fmt.Errorf("%s: read the list of linked modules: %w", name, err)
		}
		if goVersion != "" && info.GoVersion != goVersion {
			return nil, "", fmt.Errorf("%s: built with %s, another binary with %s", name, info.GoVersion, goVersion)
		}
		goVersion = info.GoVersion
		for _, d := range info.Deps {
			if d.Replace != nil {
				d = d.Replace
			}
			m := Module{Path: d.Path, Version: d.Version, Sum: d.Sum}
			if old, ok := found[m.Path]; ok && old != m {
				return nil, "", fmt.Errorf("%s: links %s %s, another binary %s: build them from one tree", name, m.Path, m.Version, old.Version)
			}
			found[m.Path] = m
		}
	}
	modules = slices.SortedFunc(maps.Values(found), func(a, b Module) int { return cmp.Compare(a.Path, b.Path) })
	return modules, goVersion, nil
}

// The part of SPDX 2.3 that is written. Source: spdx.github.io/spdx-spec/v2.3.
type document struct {
	SPDXVersion       string         `json:"spdxVersion"`
	DataLicense       string         `json:"dataLicense"`
	SPDXID            string         `json:"SPDXID"`
	Name              string         `json:"name"`
	DocumentNamespace string         `json:"documentNamespace"`
	CreationInfo      creationInfo   `json:"creationInfo"`
	Packages          []spdxPackage  `json:"packages"`
	Relationships     []relationship `json:"relationships"`
}

type creationInfo struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	SPDXID           string        `json:"SPDXID"`
	Name             string        `json:"name"`
	VersionInfo      string        `json:"versionInfo"`
	DownloadLocation string        `json:"downloadLocation"`
	FilesAnalyzed    bool          `json:"filesAnalyzed"`
	LicenseConcluded string        `json:"licenseConcluded"`
	LicenseDeclared  string        `json:"licenseDeclared"`
	CopyrightText    string        `json:"copyrightText"`
	Checksums        []checksum    `json:"checksums,omitempty"`
	ExternalRefs     []externalRef `json:"externalRefs,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type externalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

// created is fixed, so that the same binaries give the same document.
const created = "1970-01-01T00:00:00Z"

// Document returns the SPDX JSON of the project with its modules and the Go
// standard library, which is linked into everything and is no module.
func Document(main Main, modules []Module, goVersion string) ([]byte, error) {
	const self = "SPDXRef-Package-main"
	doc := document{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT",
		Name:         main.Name + "-" + main.Version,
		CreationInfo: creationInfo{Created: created, Creators: []string{"Tool: talos-sriov-hack-image"}},
		Packages:     []spdxPackage{newPackage(self, main.Module, main.Version, "https://"+main.Module, main.Licence)},
		Relationships: []relationship{
			{Element: "SPDXRef-DOCUMENT", Type: "DESCRIBES", Related: self},
		},
	}
	add := func(p spdxPackage) {
		doc.Packages = append(doc.Packages, p)
		doc.Relationships = append(doc.Relationships, relationship{Element: self, Type: "DEPENDS_ON", Related: p.SPDXID})
	}
	version := strings.TrimPrefix(goVersion, "go")
	std := newPackage("SPDXRef-Package-stdlib", "stdlib", version, "https://go.dev/dl/"+goVersion+".src.tar.gz", "BSD-3-Clause")
	std.ExternalRefs = []externalRef{{"PACKAGE-MANAGER", "purl", "pkg:golang/stdlib@" + version}}
	add(std)
	for i, m := range modules {
		p := newPackage(fmt.Sprintf("SPDXRef-Package-%d", i+1), m.Path, m.Version, "NOASSERTION", m.Licence)
		p.ExternalRefs = []externalRef{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + m.Path + "@" + strings.ReplaceAll(m.Version, "+", "%2B")}}
		if sum, ok := strings.CutPrefix(m.Sum, "h1:"); ok {
			raw, err := base64.StdEncoding.DecodeString(sum)
			if err != nil {
				return nil, fmt.Errorf("checksum of %s: %w", m.Path, err)
			}
			p.Checksums = []checksum{{"SHA256", hex.EncodeToString(raw)}}
		}
		add(p)
	}
	// SPDX wants the namespace unique for each document: the hash of all else.
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	doc.DocumentNamespace = "https://" + main.Module + "/spdx/" + doc.Name + "-" + hex.EncodeToString(sum[:8])
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(out, '\n'), nil
}

func newPackage(id, name, version, location, licence string) spdxPackage {
	return spdxPackage{
		SPDXID: id, Name: name, VersionInfo: version, DownloadLocation: location,
		LicenseConcluded: licence, LicenseDeclared: licence, CopyrightText: NoAssertion,
	}
}
