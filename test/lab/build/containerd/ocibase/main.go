// Command ocibase prints the OCI runtime spec with which containerd starts when
// a client asks for nothing, plus its default seccomp profile for the
// capabilities that Talos grants to an extension. The lab's guest builds each
// extension's spec on top of it, so that masked paths, default mounts and the
// seccomp profile are containerd's own and not a copy of them.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "ocibase:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx := namespaces.WithNamespace(context.Background(), "system")
	spec, err := oci.GenerateSpecWithPlatform(ctx, nil, "linux/amd64", &containers.Container{ID: "base"})
	if err != nil {
		return fmt.Errorf("generate containerd's default spec: %w", err)
	}
	var caps []string
	for _, c := range cap.Known() {
		if c = strings.ToUpper(c); c != "CAP_SYS_MODULE" && c != "CAP_SYS_BOOT" {
			caps = append(caps, c)
		}
	}
	if err := oci.WithCapabilities(caps)(ctx, nil, nil, spec); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	if err := seccomp.WithDefaultProfile()(ctx, nil, nil, spec); err != nil {
		return fmt.Errorf("set seccomp profile: %w", err)
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(spec)
}
