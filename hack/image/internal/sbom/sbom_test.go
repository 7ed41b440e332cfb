package sbom_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/hack/image/internal/sbom"
)

func TestClassify(t *testing.T) {
	const bsd = `Redistribution and use in source and binary forms, with or without modification, are permitted ...
	* Redistributions in binary form must reproduce the above copyright notice.`
	for want, text := range map[string]string{
		"Apache-2.0":         "Apache License\n   Version 2.0, January 2004",
		"MPL-2.0":            "Mozilla Public License Version 2.0",
		"MIT":                "Permission is hereby granted, free of charge, to any person obtaining a copy\nof this software ... WITHOUT WARRANTY OF ANY KIND",
		"ISC":                "Permission to use, copy, modify, and/or distribute this software for any\npurpose with or without fee is hereby granted",
		"BSD-2-Clause":       bsd,
		"BSD-3-Clause":       bsd + "\n* may be used to endorse or promote products derived",
		"Apache-2.0 AND MIT": "Apache License Version 2.0 and Permission is hereby granted, free of charge, to any person obtaining a copy WITHOUT WARRANTY OF ANY KIND",
		sbom.NoAssertion:     "All rights reserved.",
	} {
		if got := sbom.Classify(text); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestOfModule(t *testing.T) {
	dir := t.TempDir()
	if got, err := sbom.OfModule(dir); err != nil || got != sbom.NoAssertion {
		t.Errorf("no licence file: %s, %v", got, err)
	}
	// The project's own licence, under another of the usual names.
	text, err := os.ReadFile("../../../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "LICENCE.md"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := sbom.OfModule(dir); err != nil || got != "Apache-2.0" {
		t.Errorf("got %s, %v", got, err)
	}
}

// TestDocument makes the document of this test's own executable.
func TestDocument(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	modules, goVersion, err := sbom.Linked(map[string][]byte{"a": data, "b": data})
	if err != nil {
		t.Fatal(err)
	}
	if goVersion != runtime.Version() {
		t.Errorf("Go version %s, want %s", goVersion, runtime.Version())
	}
	if len(modules) > 0 {
		t.Fatalf("modules %v; go test records none in its executables", modules)
	}
	modules = []sbom.Module{{
		Path: "example.org/x+y", Version: "v2.0.0+incompatible", Licence: "BSD-3-Clause",
		Sum: "h1:ofyhxvXcZhMsU5ulbFiLKl/XBFqE1GSq7atu8tAmTRI=",
	}}
	main := sbom.Main{Name: "sriov", Version: "0.1.0", Module: "example.org/sriov", Licence: "Apache-2.0"}
	doc, err := sbom.Document(main, modules, goVersion)
	if err != nil {
		t.Fatal(err)
	}
	again, err := sbom.Document(main, modules, goVersion)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(doc), string(again)); diff != "" {
		t.Errorf("not reproducible:\n%s", diff)
	}
	var got struct {
		SPDXVersion       string
		DocumentNamespace string
		Packages          []struct {
			Name, VersionInfo, LicenseDeclared string
			Checksums                          []struct{ ChecksumValue string }
		}
		Relationships []struct{ RelationshipType string }
	}
	if err := json.Unmarshal(doc, &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range got.Packages {
		names = append(names, p.Name+" "+p.LicenseDeclared)
	}
	want := []string{"example.org/sriov Apache-2.0", "stdlib BSD-3-Clause", "example.org/x+y BSD-3-Clause"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if len(got.Packages[2].Checksums) != 1 || len(got.Packages[2].Checksums[0].ChecksumValue) != 64 {
		t.Errorf("checksums %v", got.Packages[2].Checksums)
	}
	if got.SPDXVersion != "SPDX-2.3" || !strings.HasPrefix(got.DocumentNamespace, "https://example.org/sriov/spdx/sriov-0.1.0-") {
		t.Errorf("version %q, namespace %q", got.SPDXVersion, got.DocumentNamespace)
	}
	if len(got.Relationships) != 3 {
		t.Errorf("%d relationships, want one for the document and one for each dependency", len(got.Relationships))
	}
}

func TestLinkedRefusesOthers(t *testing.T) {
	if _, _, err := sbom.Linked(map[string][]byte{"sriovd": []byte("#!/bin/sh")}); err == nil {
		t.Error("a script was taken for a Go binary")
	}
}
