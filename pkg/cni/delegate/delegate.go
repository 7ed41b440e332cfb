package delegate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
)

// IPAM runs IPAM plugins from CNI_PATH, as the specification has it: with
// the plugin's own environment and configuration.
type IPAM struct{}

// ErrItself: an IPAM plugin that is this very program would run itself with the
// same configuration, and so on without end, at DEL too.
var ErrItself = errors.New("ipam.type names this plugin itself, which manages no addresses")

// Find implements the IPAM of package cni.
func (IPAM) Find(plugin string) error {
	path, err := invoke.FindInPath(plugin, filepath.SplitList(os.Getenv("CNI_PATH"))) //nolint:forbidigo // where the library reads it as well; the specification has it in the environment
	if err != nil {
		return err
	}
	found, err := os.Stat(path)
	if err != nil {
		return err
	}
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("which program is this: %w", err)
	}
	if os.SameFile(found, own) {
		return fmt.Errorf("%w (%s)", ErrItself, path)
	}
	return nil
}

// Add implements the IPAM of package cni.
func (i IPAM) Add(ctx context.Context, plugin string, stdin []byte) (types.Result, error) {
	if err := i.Find(plugin); err != nil {
		return nil, err
	}
	return invoke.DelegateAdd(ctx, plugin, stdin, nil)
}

// Del implements the IPAM of package cni.
func (i IPAM) Del(ctx context.Context, plugin string, stdin []byte) error {
	return i.run(ctx, invoke.DelegateDel, plugin, stdin)
}

// Check implements the IPAM of package cni.
func (i IPAM) Check(ctx context.Context, plugin string, stdin []byte) error {
	return i.run(ctx, invoke.DelegateCheck, plugin, stdin)
}

// Status implements the IPAM of package cni.
func (i IPAM) Status(ctx context.Context, plugin string, stdin []byte) error {
	return i.run(ctx, invoke.DelegateStatus, plugin, stdin)
}

// GC implements the IPAM of package cni.
func (i IPAM) GC(ctx context.Context, plugin string, stdin []byte) error {
	return i.run(ctx, invoke.DelegateGC, plugin, stdin)
}

// delegate is one of the library's calls of a plugin, without a result.
type delegate func(ctx context.Context, plugin string, stdin []byte, exec invoke.Exec) error

func (i IPAM) run(ctx context.Context, call delegate, plugin string, stdin []byte) error {
	if err := i.Find(plugin); err != nil {
		return err
	}
	return call(ctx, plugin, stdin, nil)
}
