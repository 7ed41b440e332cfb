package extsvc

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// cgroupExtensions is the parent of every extension's cgroup.
const cgroupExtensions = "/system/extensions"

// ParseBase decodes containerd's default spec.
func ParseBase(b []byte) (*specs.Spec, error) {
	var s specs.Spec
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("decode containerd's default OCI spec: %w", err)
	}
	if s.Process == nil || s.Linux == nil || s.Root == nil {
		return nil, fmt.Errorf("containerd's default OCI spec lacks process, linux or root")
	}
	return &s, nil
}

// OCI gives the runtime spec of a service: base, which is containerd's default
// spec with the capabilities and the seccomp profile of extensions, changed as
// Talos changes it. doc is the one that was known when the service was
// started, or nil. base is not modified.
func OCI(base *specs.Spec, svc Spec, doc *Document) (*specs.Spec, error) {
	s, err := clone(base)
	if err != nil {
		return nil, err
	}
	p := s.Process
	p.Terminal = false
	p.Args = append([]string{svc.Container.Entrypoint}, svc.Container.Args...)
	p.Cwd = "/"
	p.NoNewPrivileges = true
	p.Rlimits = nil // inherited from PID 1
	p.OOMScoreAdj = ptr(-600)
	// No PATH: containerd adds one only for images. runc itself adds HOME.
	p.Env = slices.Clone(svc.Container.Environment)
	if doc != nil {
		p.Env = append(p.Env, doc.Environment...)
	}

	s.Root.Path = filepath.Join(RootfsDir, svc.Name)
	s.Root.Readonly = !svc.Container.Security.WriteableRootfs
	s.Hostname = ""

	l := s.Linux
	l.CgroupsPath = filepath.Join(cgroupExtensions, svc.Name)
	l.RootfsPropagation = svc.Container.Security.RootfsPropagation
	l.Namespaces = slices.DeleteFunc(l.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.NetworkNamespace || n.Type == specs.IPCNamespace || n.Type == specs.CgroupNamespace
	})
	if l.Resources == nil {
		l.Resources = &specs.LinuxResources{}
	}
	l.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	if m := svc.Container.Security.MaskedPaths; m != nil {
		l.MaskedPaths = slices.Clone(*m)
	}
	if r := svc.Container.Security.ReadonlyPaths; r != nil {
		l.ReadonlyPaths = slices.Clone(*r)
	}

	if svc.Container.Security.WriteableSysfs {
		for i, m := range s.Mounts {
			if m.Type != "sysfs" {
				continue
			}
			opts := slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "ro" })
			s.Mounts[i].Options = append(opts, "rw")
		}
	}
	for _, f := range []string{"/etc/hosts", "/etc/resolv.conf"} {
		s.Mounts = append(s.Mounts, specs.Mount{Source: f, Destination: f, Type: "bind", Options: []string{"rbind", "ro"}})
	}
	for _, m := range svc.Container.Mounts {
		s.Mounts = append(s.Mounts, specs.Mount{
			Source: m.Source, Destination: m.Destination, Type: m.Type, Options: slices.Clone(m.Options),
		})
	}
	if doc != nil {
		for _, f := range doc.ConfigFiles {
			s.Mounts = append(s.Mounts, specs.Mount{
				Source: f.Path(svc.Name), Destination: f.MountPath, Type: "bind", Options: []string{"ro", "bind"},
			})
		}
	}
	return s, nil
}

func clone(s *specs.Spec) (*specs.Spec, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("copy OCI spec: %w", err)
	}
	return ParseBase(b)
}

func ptr[T any](v T) *T { return &v }
