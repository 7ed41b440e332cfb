package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

const repo = "../.."

func TestUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"usage: image":                {},
		`unknown command "bake"`:      {"bake"},
		"name the one reference":      {"push"},
		"name the one directory":      {"unpack"},
		"make extension builds it":    {"unpack", "-layout", "/nonexistent", "x"},
		"make build makes it":         {"build", "-root", repo, "-bin", "/nonexistent"},
		"manifest.yaml: no such file": {"build", "-root", "/nonexistent"},
	} {
		err := run(context.Background(), args, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", args, err, want)
		}
	}
}
