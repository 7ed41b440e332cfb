package cni

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// HostSide is this machine for the daemon, which only reclaims what ended pods left:
// it enters no pod's namespace, and from a container in which the host's /run is
// mounted at run it could not distinguish a live one from a file either. A namespace is
// gone when its file is; whatever cannot be decided counts as alive.
func HostSide(run string) Kernel { return hostSide{run} }

type hostSide struct{ run string }

func (hostSide) Host() NS { return linuxNS{nl.Open()} }

func (k hostSide) Open(path string) (NS, error) {
	rest, ok := strings.CutPrefix(path, "/var/run/")
	if !ok {
		rest, ok = strings.CutPrefix(path, "/run/")
	}
	if !ok || filepath.Clean(path) != path {
		return nil, fmt.Errorf("namespace %s is not below /run, whether it is alive cannot be determined from here", path)
	}
	// Without the mount nothing would be there, and everything seem dead.
	entries, err := os.ReadDir(k.run)
	if err != nil {
		return nil, fmt.Errorf("find namespace %s: %w", path, err)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("find namespace %s: %s is empty, is the host's /run mounted there?", path, k.run)
	}
	// A link in the path may lead to what is elsewhere here than on the host: that is
	// another error than that there is nothing.
	root, err := os.OpenRoot(k.run)
	if err != nil {
		return nil, fmt.Errorf("find namespace %s: %w", path, err)
	}
	defer root.Close()
	_, err = root.Lstat(rest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w at %s: %w", ErrNoNamespace, path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("find namespace %s: %w", path, err)
	}
	return nil, fmt.Errorf("namespace %s is there, and must not be entered from here", path)
}
