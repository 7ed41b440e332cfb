package sbom

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// NoAssertion is SPDX's word for a licence that is not known.
const NoAssertion = "NOASSERTION"

// Classify returns the SPDX identifier of a licence text. Several licences in
// one file are joined by AND.
func Classify(text string) string {
	t := strings.ToLower(strings.Join(strings.Fields(text), " "))
	has := func(parts ...string) bool {
		for _, p := range parts {
			if !strings.Contains(t, p) {
				return false
			}
		}
		return true
	}
	var ids []string
	if has("apache license", "version 2.0") {
		ids = append(ids, "Apache-2.0")
	}
	if has("mozilla public license", "2.0") {
		ids = append(ids, "MPL-2.0")
	}
	if has("permission is hereby granted, free of charge, to any person obtaining a copy", "without warranty of any kind") {
		ids = append(ids, "MIT")
	}
	if has("permission to use, copy, modify, and", "distribute this software for any purpose with or without fee is hereby granted") {
		ids = append(ids, "ISC")
	}
	if has("redistribution and use in source and binary forms", "redistributions in binary form must reproduce") {
		if has("be used to endorse or promote products") {
			ids = append(ids, "BSD-3-Clause")
		} else {
			ids = append(ids, "BSD-2-Clause")
		}
	}
	if len(ids) == 0 {
		return NoAssertion
	}
	slices.Sort(ids)
	return strings.Join(ids, " AND ")
}

// OfModule classifies the licence file in a module's directory.
func OfModule(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("licence of module: %w", err)
	}
	for _, e := range entries {
		stem := strings.ToUpper(strings.TrimSuffix(e.Name(), filepath.Ext(e.Name())))
		if e.IsDir() || !slices.Contains([]string{"LICENSE", "LICENCE", "COPYING", "LICENSE-APACHE"}, stem) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", fmt.Errorf("licence of module: %w", err)
		}
		if id := Classify(string(text)); id != NoAssertion {
			return id, nil
		}
	}
	return NoAssertion, nil
}
