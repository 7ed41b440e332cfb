package contracts

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/encoder"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
)

//go:embed testdata
var testdata embed.FS

//go:embed testdata/worker-1.14.yaml
var worker114 []byte

// Worker114 returns the machine config that Talos 1.14 generates for a worker,
// with made-up secrets, for tests with the machinery of an older version.
func Worker114() []byte { return slices.Clone(worker114) }

// Node is a machine config that a node may have.
type Node struct {
	Name string
	// Contract is the version that generated the config. A node keeps it through
	// upgrades.
	Contract     Release
	ControlPlane bool
	Config       []byte
}

// documents reports whether the config has documents of Kubernetes' parts, which
// conflict with the same keys of machine and cluster.
func (n *Node) documents() bool { return n.Contract.Documents }

// Patch is a file of machineconfig-patches.
type Patch struct {
	// Name is the path below the directory: v1.14/multus.yaml.
	Name string
	Data []byte
}

// metal is where the node runs: validation differs.
type metal struct{}

func (metal) String() string        { return "metal" }
func (metal) RequiresInstall() bool { return true }
func (metal) InContainer() bool     { return false }

// nodes returns configs as talosctl of the linked version generates them for the
// contracts, with and without its comments, and one of a node that was upgraded.
func nodes(t *testing.T, releases []Release) []Node {
	t.Helper()
	bundle := sync.OnceValues(func() (*secrets.Bundle, error) {
		return secrets.NewBundle(secrets.NewClock(), config.TalosVersion1_12)
	})
	var out []Node
	for _, contract := range releases {
		for _, kind := range []machine.Type{machine.TypeWorker, machine.TypeControlPlane} {
			for _, comments := range []encoder.CommentsFlags{encoder.CommentsDisabled, encoder.CommentsAll} {
				secret, err := bundle()
				if err != nil {
					t.Fatal(err)
				}
				data, err := generated(contract.Version, kind, secret, comments)
				if err != nil {
					t.Fatalf("generate %s %s: %v", contract.Version, kind, err)
				}
				out = append(out, Node{
					Name:     fmt.Sprintf("%s-%s-comments%d", contract.Version, kind, comments),
					Contract: contract, ControlPlane: kind == machine.TypeControlPlane, Config: data,
				})
			}
		}
	}
	upgraded, err := testdata.ReadFile("testdata/upgraded.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// An upgraded node has none of the newer documents.
	out = append(out, Node{Name: "upgraded", Config: upgraded})
	if linked := releases[len(releases)-1]; linked.Documents {
		out = append(out, Node{Name: "golden", Contract: linked, Config: Worker114()})
	}
	return out
}

func generated(contract string, kind machine.Type, secret *secrets.Bundle, comments encoder.CommentsFlags) ([]byte, error) {
	version, err := config.ParseContractFromVersion(contract)
	if err != nil {
		return nil, err
	}
	in, err := generate.NewInput("test", "https://10.5.0.2:6443", "1.35.0",
		generate.WithVersionContract(version), generate.WithSecretsBundle(secret), generate.WithInstallDisk("/dev/sda"))
	if err != nil {
		return nil, err
	}
	provider, err := in.Config(kind)
	if err != nil {
		return nil, err
	}
	return provider.EncodeBytes(encoder.WithComments(comments))
}

// patches reads the files of a directory of machineconfig-patches, never none.
func patches(t *testing.T, root, dir string) []Patch {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, dir, "*.yaml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no patches in %s: %v", filepath.Join(root, dir), err)
	}
	var out []Patch
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, Patch{Name: filepath.Join(dir, filepath.Base(name)), Data: data})
	}
	return out
}

// talosMerge is what talosctl patch machineconfig does: the merged config.
func talosMerge(base, patch []byte) ([]byte, error) {
	loaded, err := configpatcher.LoadPatch(patch)
	if err != nil {
		return nil, err
	}
	out, err := configpatcher.Apply(configpatcher.WithBytes(base), []configpatcher.Patch{loaded})
	if err != nil {
		return nil, err
	}
	return out.Bytes()
}

// validate is what a node does with a config that it is sent.
func validate(data []byte) error {
	provider, err := configloader.NewFromBytes(data)
	if err != nil {
		return err
	}
	_, err = provider.Validate(metal{})
	return err
}

// decoded is a config as Talos understands it, as text: documents in the order of
// their names, no comments.
func decoded(data []byte) (string, error) {
	provider, err := configloader.NewFromBytes(data)
	if err != nil {
		return "", err
	}
	text, err := provider.EncodeBytes(encoder.WithComments(encoder.CommentsDisabled))
	return string(text), err
}

// forControlPlane reports whether the patch is for control planes alone.
func forControlPlane(p *Patch) bool { return strings.HasPrefix(filepath.Base(p.Name), "multus") }
