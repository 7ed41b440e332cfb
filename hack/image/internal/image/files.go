package image

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
)

// Where things are in an extension image. Source: Talos' machinery,
// pkg/machinery/constants (ExtensionServiceConfigPath and its neighbours), and
// the layout of siderolabs/extensions.
const (
	ManifestPath = "manifest.yaml"
	ServicePath  = "rootfs/usr/local/etc/containers/sriov.yaml"
	BinaryDir    = "rootfs/usr/local/lib/containers/sriov"
	SBOMPath     = "rootfs/usr/local/share/spdx/sriov.spdx.json"
)

// Modes of the files. Talos refuses world-writable ones.
const (
	modeData   = 0o644
	modeBinary = 0o755
	modeDir    = 0o755
)

// File is one regular file of the image.
type File struct {
	Path string // slash-separated, without a leading slash
	Mode os.FileMode
	Data []byte
}

// Input is what an image of one architecture is made of.
type Input struct {
	Arch     string // amd64 | arm64, as GOARCH
	Manifest []byte // manifest.yaml
	Service  []byte // the Talos service spec
	SBOM     []byte // SPDX JSON
	// Binaries are the static executables by base name (sriovd, sriov-cni).
	Binaries map[string][]byte
}

// Files lists the regular files of the image, sorted by path.
func (in *Input) Files() []File {
	files := []File{
		{ManifestPath, modeData, in.Manifest},
		{ServicePath, modeData, in.Service},
		{SBOMPath, modeData, in.SBOM},
	}
	for name, data := range in.Binaries {
		files = append(files, File{BinaryDir + "/" + name, modeBinary, data})
	}
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return files
}

// Unpack writes the files below dir, which it creates. Directories and files get
// the modes that they have in the image, whatever the umask says.
func Unpack(files []File, dir string) error {
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(name), modeDir); err != nil {
			return fmt.Errorf("unpack %s: %w", f.Path, err)
		}
		if err := renameio.WriteFile(name, f.Data, f.Mode, renameio.IgnoreUmask()); err != nil {
			return fmt.Errorf("unpack %s: %w", f.Path, err)
		}
	}
	return nil
}
