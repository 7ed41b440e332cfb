package deviceplugin

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
)

// Names below a kubelet's root directory (pkg/kubelet/cm/devicemanager).
const (
	pluginDirName     = "device-plugins"
	kubeletSocketName = "kubelet.sock"
)

// defaultPluginDir is where a kubelet sees our links when it sees the directory
// under another path than we do.
const defaultPluginDir = "/var/lib/kubelet/device-plugins"

// maxSocketPath is the longest path of a unix socket: sun_path has 108 bytes,
// one for the terminating zero (unix(7)). It counts for the path that is dialled,
// not for what a link in it points to.
const maxSocketPath = 107

const socketSuffix = ".sock"

// SocketName is the file name that the SR-IOV network device plugin gives the
// socket of a resource, <prefix>_<name>.sock. Our own names begin with it, so that
// it is also the name at which another plugin for the same resource is found. A
// name that would make the path in dir too long to bind is replaced by a digest of
// the resource.
func SocketName(dir, resource string) string {
	return fileName(dir, resource, socketSuffix)
}

// fileName is the name with that end of a file in dir for the resource: of another
// plugin's socket, or with a tag, -<tag>.sock, of one of ours or a link to it.
func fileName(dir, resource, end string) string {
	name := strings.ReplaceAll(resource, "/", "_") + end
	if len(filepath.Join(dir, name)) > maxSocketPath || len(filepath.Join(defaultPluginDir, name)) > maxSocketPath {
		sum := sha256.Sum256([]byte(resource))
		return "sriov-" + hex.EncodeToString(sum[:8]) + end
	}
	return name
}
