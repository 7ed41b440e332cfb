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
	_, err := find(plugin)
	return err
}

// find gives the path of the plugin's program.
func find(plugin string) (string, error) {
	path, err := invoke.FindInPath(plugin, filepath.SplitList(os.Getenv("CNI_PATH"))) //nolint:forbidigo // where the specification has it
	if err != nil {
		return "", err
	}
	found, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("which program is this: %w", err)
	}
	if os.SameFile(found, own) {
		return "", fmt.Errorf("%w (%s)", ErrItself, path)
	}
	return path, nil
}

// Add implements the IPAM of package cni.
func (IPAM) Add(ctx context.Context, plugin string, stdin []byte) (types.Result, error) {
	path, err := find(plugin)
	if err != nil {
		return nil, err
	}
	return invoke.ExecPluginWithResult(ctx, path, stdin, &invoke.DelegateArgs{Command: "ADD"}, nil)
}

// Run implements the IPAM of package cni.
func (IPAM) Run(ctx context.Context, command, plugin string, stdin []byte) error {
	path, err := find(plugin)
	if err != nil {
		return err
	}
	return invoke.ExecPluginWithoutResult(ctx, path, stdin, &invoke.DelegateArgs{Command: command}, nil)
}
