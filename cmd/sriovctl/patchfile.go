package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
	"github.com/talos-sriov/talos-sriov/pkg/talos"
	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

// checkPatch checks a file that carries the config, as far as that can be done
// for every version of Talos. What it cannot judge is for the node to judge; notes
// say so.
func checkPatch(name string, data []byte) (notes []string, err error) {
	if err := machineconfig.Check(data); err != nil {
		out := &talos.Error{Msg: name + ": it cannot be merged into a machine config", Err: err}
		if e, ok := errors.AsType[*machineconfig.Error](err); ok {
			out.Hint = e.Hint
		}
		return nil, out
	}
	docs, err := machineconfig.Documents(data)
	if err != nil {
		return nil, &talos.Error{Msg: name, Err: err}
	}
	for i := range docs {
		d := &docs[i]
		if d.Empty() {
			continue
		}
		// Empty lines before it, so that lines in an error are those of the file.
		_, err := configpatcher.LoadPatch(slices.Concat(bytes.Repeat([]byte("\n"), d.Line-1), d.Raw))
		switch {
		case err == nil:
		case fixed(d.Kind):
			return nil, &talos.Error{Msg: name + ": Talos would refuse it", Err: err}
		default:
			notes = append(notes, unchecked(d.Kind))
		}
	}
	return notes, nil
}

// fixed reports whether documents of the kind have the same keys in every version
// of Talos that is supported: what the linked one refuses, all refuse. The first
// gets no new keys, since Talos gives new settings kinds of their own; the second
// is the one that carries the config.
func fixed(kind string) bool {
	return kind == machineconfig.KindV1Alpha1 || kind == "ExtensionServiceConfig"
}

func unchecked(kind string) string {
	const not = "so it was not checked as Talos does"
	for _, v := range versions.All() {
		if _, ok := v.Kinds[kind]; ok {
			return fmt.Sprintf("%s is known to Talos %s and later only, %s", kind, v.Version, not)
		}
	}
	return fmt.Sprintf("%s is not known in this form to this version of sriovctl, %s; the node checks it", kind, not)
}
