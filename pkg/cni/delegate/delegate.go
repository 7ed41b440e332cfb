package delegate

import (
	"context"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
)

// IPAM runs IPAM plugins from CNI_PATH, as the specification has it: with
// the plugin's own environment and configuration.
type IPAM struct{}

// Find implements the IPAM of package cni.
func (IPAM) Find(plugin string) error {
	_, err := invoke.FindInPath(plugin, filepath.SplitList(os.Getenv("CNI_PATH"))) //nolint:forbidigo // where the library looks as well; the specification has it in the environment
	return err
}

// Add implements the IPAM of package cni.
func (IPAM) Add(ctx context.Context, plugin string, stdin []byte) (types.Result, error) {
	return invoke.DelegateAdd(ctx, plugin, stdin, nil)
}

// Del implements the IPAM of package cni.
func (IPAM) Del(ctx context.Context, plugin string, stdin []byte) error {
	return invoke.DelegateDel(ctx, plugin, stdin, nil)
}

// Check implements the IPAM of package cni.
func (IPAM) Check(ctx context.Context, plugin string, stdin []byte) error {
	return invoke.DelegateCheck(ctx, plugin, stdin, nil)
}

// Status implements the IPAM of package cni.
func (IPAM) Status(ctx context.Context, plugin string, stdin []byte) error {
	return invoke.DelegateStatus(ctx, plugin, stdin, nil)
}

// GC implements the IPAM of package cni.
func (IPAM) GC(ctx context.Context, plugin string, stdin []byte) error {
	return invoke.DelegateGC(ctx, plugin, stdin, nil)
}
