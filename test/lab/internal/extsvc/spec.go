package extsvc

import (
	"errors"
	"fmt"
	"regexp"

	"gopkg.in/yaml.v3"
)

// Spec is a service spec as found in /usr/local/etc/containers.
type Spec struct {
	Name         string       `yaml:"name"`
	Container    Container    `yaml:"container"`
	Depends      []Dependency `yaml:"depends"`
	Restart      string       `yaml:"restart"`
	LogToConsole bool         `yaml:"logToConsole"`
}

// Container is the container part of a Spec.
type Container struct {
	Entrypoint      string   `yaml:"entrypoint"`
	Args            []string `yaml:"args"`
	Environment     []string `yaml:"environment"`
	EnvironmentFile string   `yaml:"environmentFile"`
	Mounts          []Mount  `yaml:"mounts"`
	Security        Security `yaml:"security"`
}

// Mount is one mount of a Container, in the words of the OCI runtime spec.
type Mount struct {
	Source      string   `yaml:"source"`
	Destination string   `yaml:"destination"`
	Type        string   `yaml:"type"`
	Options     []string `yaml:"options"`
}

// Security loosens what a container gets by default. A nil path list means
// containerd's defaults, an empty one means none.
type Security struct {
	WriteableRootfs   bool      `yaml:"writeableRootfs"`
	WriteableSysfs    bool      `yaml:"writeableSysfs"`
	MaskedPaths       *[]string `yaml:"maskedPaths"`
	ReadonlyPaths     *[]string `yaml:"readonlyPaths"`
	RootfsPropagation string    `yaml:"rootfsPropagation"`
}

// Dependency is one condition of a service's start; exactly one field is set.
type Dependency struct {
	Service       string   `yaml:"service"`
	Path          string   `yaml:"path"`
	Network       []string `yaml:"network"`
	Time          bool     `yaml:"time"`
	Configuration bool     `yaml:"configuration"`
}

// The values of Spec.Restart.
const (
	RestartAlways       = "always"
	RestartNever        = "never"
	RestartUntilSuccess = "untilSuccess"
)

// ServicesDir, RootfsDir and ConfigDir are where Talos has service specs,
// service root filesystems, and the files of ExtensionServiceConfig documents.
const (
	ServicesDir = "/usr/local/etc/containers"
	RootfsDir   = "/usr/local/lib/containers"
	ConfigDir   = "/system/overlays/extensions"
)

var validName = regexp.MustCompile(`^[-_a-z0-9]+$`)

// ParseSpec decodes a service spec. Unknown keys are ignored, as Talos does.
func ParseSpec(b []byte) (Spec, error) {
	var s Spec
	if err := yaml.Unmarshal(b, &s); err != nil {
		return Spec{}, fmt.Errorf("decode service spec: %w", err)
	}
	var errs []error
	if !validName.MatchString(s.Name) {
		errs = append(errs, fmt.Errorf("name %q: want one or more of a-z, 0-9, - and _", s.Name))
	}
	if s.Container.Entrypoint == "" {
		errs = append(errs, errors.New("container.entrypoint is required"))
	}
	switch s.Restart {
	case RestartAlways, RestartNever, RestartUntilSuccess:
	default:
		errs = append(errs, fmt.Errorf("restart %q: want always, never or untilSuccess", s.Restart))
	}
	for i, d := range s.Depends {
		if n := d.count(); n != 1 {
			errs = append(errs, fmt.Errorf("depends[%d]: want exactly one key, have %d", i, n))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Spec{}, fmt.Errorf("service spec: %w", err)
	}
	return s, nil
}

// WaitsForConfiguration reports whether the service must not run without its
// document.
func (s Spec) WaitsForConfiguration() bool {
	for _, d := range s.Depends {
		if d.Configuration {
			return true
		}
	}
	return false
}

func (d Dependency) count() int {
	n := 0
	for _, set := range []bool{d.Service != "", d.Path != "", len(d.Network) > 0, d.Time, d.Configuration} {
		if set {
			n++
		}
	}
	return n
}
