package deviceplugin

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
)

// Names below a kubelet's root folder (pkg/kubelet/cm/devicemanager).
const (
	pluginDirName     = "device-plugins"
	kubeletSocketName = "kubelet.sock"
)

// defaultPluginDir is where a kubelet sees our sockets when it sees the folder
// under another path than we do.
const defaultPluginDir = "/var/lib/kubelet/device-plugins"

// maxSocketPath is the longest path of a unix socket: sun_path has 108 bytes,
// one for the terminating zero (unix(7)).
const maxSocketPath = 107

// SocketName is the file name of a resource's socket, <prefix>_<name>.sock as
// the SR-IOV network device plugin has it. A name that would make the path in
// dir too long to bind is replaced by a digest of the resource.
func SocketName(dir, resource string) string {
	name := strings.ReplaceAll(resource, "/", "_") + ".sock"
	if len(filepath.Join(dir, name)) > maxSocketPath || len(filepath.Join(defaultPluginDir, name)) > maxSocketPath {
		sum := sha256.Sum256([]byte(resource))
		return "sriov-" + hex.EncodeToString(sum[:8]) + ".sock"
	}
	return name
}

// EnvName is the environment variable that lists a container's devices of the
// resource. Dots become underscores, hyphens stay: that is what every consumer
// of the SR-IOV network device plugin computes, although a shell cannot name
// such a variable.
func EnvName(resource string) string {
	return strings.ToUpper("PCIDEVICE_" + strings.NewReplacer("/", "_", ".", "_").Replace(resource))
}
