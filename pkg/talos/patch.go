package talos

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

// Patch renders the machine-config patch for a document: what the node needs
// beside it, and the config itself, with comments that say why. What has to be
// applied once only, because Talos appends to lists, is not in it: see
// [OncePatch].
func Patch(c *spec.Config, n Needs, v versions.Minor) ([]byte, error) {
	doc, err := spec.Marshal(c)
	if err != nil {
		return nil, err
	}
	return WrapDocument(doc, n, v)
}

// WrapDocument is [Patch] for a document that is written already: it goes in
// byte by byte.
func WrapDocument(doc []byte, n Needs, v versions.Minor) ([]byte, error) {
	if !utf8.Valid(doc) {
		return nil, errors.New("the config is not UTF-8")
	}
	var b bytes.Buffer
	if len(n.VFs) > 0 {
		b.WriteString("machine:\n  network:\n    interfaces:\n")
		b.WriteString("      # The VFs: Talos leaves them alone, unless another selector matches them too.\n")
		for _, id := range n.VFs {
			fmt.Fprintf(&b, "      - deviceSelector:\n          pciID: %s\n        ignore: true\n", id)
		}
		b.WriteString("---\n")
	}
	if v.RepeatableLists {
		for _, m := range n.Modules {
			fmt.Fprintf(&b, "# The extension cannot load modules itself.\napiVersion: v1alpha1\nkind: KernelModuleConfig\nname: %s\n---\n", m)
		}
	}
	fmt.Fprintf(&b, "apiVersion: v1alpha1\nkind: %s\nname: %s\nconfigFiles:\n", spec.ExtensionKind, spec.ExtensionName)
	fmt.Fprintf(&b, "  - mountPath: %s\n    content: |\n", spec.MountPath)
	machineconfig.Indent(&b, doc, "      ")
	return b.Bytes(), nil
}

// OncePatch renders what the node needs and what must be applied once only, nil
// when there is nothing.
func OncePatch(n Needs, v versions.Minor) []byte {
	if len(n.Modules) == 0 || v.RepeatableLists {
		return nil
	}
	var b bytes.Buffer
	b.WriteString("# Apply this once: Talos appends to the list each time.\nmachine:\n  kernel:\n    modules:\n")
	for _, m := range n.Modules {
		fmt.Fprintf(&b, "      - name: %s\n", m)
	}
	return b.Bytes()
}

// Schematic renders the image factory's schematic for the needs. The extension
// itself is not in it: a factory carries only what is in its catalogue, so
// image is named in a comment for the imager.
func Schematic(n Needs, image string) []byte {
	var b bytes.Buffer
	b.WriteString("# The extension itself is added by the imager, or is in the catalogue of your own\n")
	fmt.Fprintf(&b, "# factory:\n#   --system-extension-image %s\n", image)
	if len(n.KernelArgs) == 0 && len(n.Extensions) == 0 {
		b.WriteString("# Nothing else is needed for this config.\ncustomization: {}\n")
		return b.Bytes()
	}
	b.WriteString("customization:\n")
	list := func(indent string, values []Reasoned) {
		for _, v := range values {
			fmt.Fprintf(&b, "%s# %s\n%s- %s\n", indent, v.Why, indent, v.Value)
		}
	}
	if len(n.KernelArgs) > 0 {
		b.WriteString("  extraKernelArgs:\n")
		list("    ", n.KernelArgs)
	}
	if len(n.Extensions) > 0 {
		b.WriteString("  systemExtensions:\n    officialExtensions:\n")
		list("      ", n.Extensions)
	}
	return b.Bytes()
}
