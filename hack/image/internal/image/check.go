package image

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"path"
	"strings"

	"gopkg.in/yaml.v3"
)

var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64,
	"arm64": elf.EM_AARCH64,
}

// Manifest is manifest.yaml as far as the image needs it. Source: Talos'
// machinery, extensions.Manifest.
type Manifest struct {
	Version  string `yaml:"version"`
	Metadata struct {
		Name          string `yaml:"name"`
		Version       string `yaml:"version"`
		Author        string `yaml:"author"`
		Description   string `yaml:"description"`
		Compatibility struct {
			Talos struct {
				Version string `yaml:"version"`
			} `yaml:"talos"`
		} `yaml:"compatibility"`
	} `yaml:"metadata"`
}

// ParseManifest reads manifest.yaml and refuses what Talos would refuse.
func ParseManifest(data []byte) (*Manifest, error) {
	var m Manifest
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("manifest.yaml: %w", err)
	}
	var errs []error
	if m.Version != "v1alpha1" {
		errs = append(errs, fmt.Errorf("manifest.yaml: version is %q; Talos knows v1alpha1 only", m.Version))
	}
	for _, f := range []struct{ key, value string }{
		{"name", m.Metadata.Name},
		{"version", m.Metadata.Version},
		{"author", m.Metadata.Author},
		{"description", m.Metadata.Description},
		{"compatibility.talos.version", m.Metadata.Compatibility.Talos.Version},
	} {
		if strings.TrimSpace(f.value) == "" {
			errs = append(errs, fmt.Errorf("manifest.yaml: metadata.%s is missing", f.key))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &m, nil
}

// Check refuses an input that Talos would install and that could not run: a
// missing entrypoint, a binary for another architecture, one that needs a
// dynamic loader, which the service's root does not have.
func (in *Input) Check() error {
	want, ok := machines[in.Arch]
	if !ok {
		return fmt.Errorf("architecture %q is not built; Talos runs on amd64 and arm64", in.Arch)
	}
	errs := []error{}
	if _, err := ParseManifest(in.Manifest); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, in.checkEntrypoint())
	if len(in.SBOM) == 0 {
		errs = append(errs, errors.New("the SBOM is empty"))
	}
	for name, data := range in.Binaries {
		errs = append(errs, checkBinary(name, data, in.Arch, want))
	}
	return errors.Join(errs...)
}

func (in *Input) checkEntrypoint() error {
	var service struct {
		Name      string `yaml:"name"`
		Container struct {
			Entrypoint string `yaml:"entrypoint"`
		} `yaml:"container"`
	}
	if err := yaml.Unmarshal(in.Service, &service); err != nil {
		return fmt.Errorf("service spec: %w", err)
	}
	// Talos looks for the root filesystem under the service's name.
	if service.Name != path.Base(BinaryDir) {
		return fmt.Errorf("service spec: name is %q, but the binaries are in %s", service.Name, BinaryDir)
	}
	entry := path.Clean(service.Container.Entrypoint)
	if _, ok := in.Binaries[entry]; !ok {
		return fmt.Errorf("service spec: entrypoint %q is not among the binaries of the image", service.Container.Entrypoint)
	}
	return nil
}

func checkBinary(name string, data []byte, arch string, want elf.Machine) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%s: not an ELF executable: %w", name, err)
	}
	defer f.Close()
	if f.Machine != want {
		return fmt.Errorf("%s: built for %v, not for %s: build it with GOARCH=%s", name, f.Machine, arch, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s: dynamically linked: build it with CGO_ENABLED=0, the extension has no loader", name)
		}
	}
	return nil
}
