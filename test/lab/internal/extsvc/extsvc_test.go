package extsvc

import (
	"os"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const minimal = "name: x\ncontainer: {entrypoint: ./x}\nrestart: always\n"

func base(t *testing.T) *specs.Spec {
	t.Helper()
	b, err := os.ReadFile("testdata/base.json")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseBase(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mount(s *specs.Spec, dest string) *specs.Mount {
	// The last one wins, as it is mounted over the earlier ones.
	for i := len(s.Mounts) - 1; i >= 0; i-- {
		if s.Mounts[i].Destination == dest {
			return &s.Mounts[i]
		}
	}
	return nil
}

func namespaces(s *specs.Spec) string {
	var n []string
	for _, ns := range s.Linux.Namespaces {
		n = append(n, string(ns.Type))
	}
	slices.Sort(n)
	return strings.Join(n, " ")
}

func TestOCI(t *testing.T) {
	doc := &Document{Name: "x", Environment: []string{"B=2"}, ConfigFiles: []ConfigFile{{Content: "c", MountPath: "/etc/x/c.yaml"}}}
	for _, tc := range []struct {
		name, spec string
		doc        *Document
		check      func(*specs.Spec) (got, want string)
	}{
		{"namespaces", minimal, nil, func(s *specs.Spec) (string, string) { return namespaces(s), "mount pid uts" }},
		{"rootfs", minimal, nil, func(s *specs.Spec) (string, string) { return s.Root.Path, "/usr/local/lib/containers/x" }},
		{"no environment, so no PATH", minimal, nil, func(s *specs.Spec) (string, string) { return strings.Join(s.Process.Env, " "), "" }},
		{"environment", strings.Replace(minimal, "./x", "./x, environment: [A=1]", 1), doc, func(s *specs.Spec) (string, string) { return strings.Join(s.Process.Env, " "), "A=1 B=2" }},
		{"args", strings.Replace(minimal, "./x", "./x, args: [run, -v]", 1), nil, func(s *specs.Spec) (string, string) { return strings.Join(s.Process.Args, " "), "./x run -v" }},
		{"cgroup", minimal, nil, func(s *specs.Spec) (string, string) { return s.Linux.CgroupsPath, "/system/extensions/x" }},
		{"sysfs read-only", minimal, nil, func(s *specs.Spec) (string, string) {
			return strings.Join(mount(s, "/sys").Options, ","), "nosuid,noexec,nodev,ro"
		}},
		{"sysfs writeable", strings.Replace(minimal, "./x", "./x, security: {writeableSysfs: true}", 1), nil, func(s *specs.Spec) (string, string) {
			return strings.Join(mount(s, "/sys").Options, ","), "nosuid,noexec,nodev,rw"
		}},
		{"fresh /dev", minimal, nil, func(s *specs.Spec) (string, string) { return mount(s, "/dev").Type, "tmpfs" }},
		{"/dev bound over it", strings.Replace(minimal, "./x", "./x, mounts: [{source: /dev, destination: /dev, type: bind, options: [rbind, rslave, rw]}]", 1), nil, func(s *specs.Spec) (string, string) { return mount(s, "/dev").Source, "/dev" }},
		{"/run is private", minimal, nil, func(s *specs.Spec) (string, string) { return mount(s, "/run").Type, "tmpfs" }},
		{"hosts", minimal, nil, func(s *specs.Spec) (string, string) {
			return strings.Join(mount(s, "/etc/hosts").Options, ","), "rbind,ro"
		}},
		{"config file", minimal, doc, func(s *specs.Spec) (string, string) {
			return mount(s, "/etc/x/c.yaml").Source, "/system/overlays/extensions/x/etc-x-c.yaml"
		}},
		{"default masked paths", minimal, nil, func(s *specs.Spec) (string, string) {
			return yes(slices.Contains(s.Linux.MaskedPaths, "/sys/firmware")), "yes"
		}},
		{"no masked paths", strings.Replace(minimal, "./x", "./x, security: {maskedPaths: []}", 1), nil, func(s *specs.Spec) (string, string) { return strings.Join(s.Linux.MaskedPaths, ","), "" }},
		{"no CAP_SYS_MODULE", minimal, nil, func(s *specs.Spec) (string, string) {
			return yes(slices.Contains(s.Process.Capabilities.Bounding, "CAP_SYS_MODULE")), "no"
		}},
		{"CAP_SYS_ADMIN", minimal, nil, func(s *specs.Spec) (string, string) {
			return yes(slices.Contains(s.Process.Capabilities.Effective, "CAP_SYS_ADMIN")), "yes"
		}},
		{"seccomp", minimal, nil, func(s *specs.Spec) (string, string) { return yes(s.Linux.Seccomp != nil), "yes" }},
		{"no new privileges", minimal, nil, func(s *specs.Spec) (string, string) { return yes(s.Process.NoNewPrivileges), "yes" }},
		{"rootfs read-only", minimal, nil, func(s *specs.Spec) (string, string) { return yes(s.Root.Readonly), "yes" }},
		{"all devices", minimal, nil, func(s *specs.Spec) (string, string) {
			return yes(len(s.Linux.Resources.Devices) == 1 && s.Linux.Resources.Devices[0].Allow), "yes"
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc, err := ParseSpec([]byte(tc.spec))
			if err != nil {
				t.Fatal(err)
			}
			b := base(t)
			s, err := OCI(b, svc, tc.doc)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := tc.check(s); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if namespaces(b) == namespaces(s) {
				t.Error("the base spec was modified")
			}
		})
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func TestParseSpecRefuses(t *testing.T) {
	for name, y := range map[string]string{
		"bad name":         "name: X\ncontainer: {entrypoint: ./x}\nrestart: always\n",
		"no entrypoint":    "name: x\nrestart: always\n",
		"bad restart":      "name: x\ncontainer: {entrypoint: ./x}\nrestart: sometimes\n",
		"two dependencies": minimal + "depends: [{service: cri, time: true}]\n",
		"not yaml":         ":\n\t-",
	} {
		if _, err := ParseSpec([]byte(y)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := ParseSpec([]byte(minimal + "unknown: 1\n")); err != nil {
		t.Errorf("an unknown key must be ignored: %v", err)
	}
}

func TestParseDocuments(t *testing.T) {
	y := "machine: {}\n---\napiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: sriov\nconfigFiles:\n  - mountPath: /etc/sriov/config.yaml\n    content: |\n      a: 1\n"
	docs, err := ParseDocuments([]byte(y))
	if err != nil {
		t.Fatal(err)
	}
	if len(docs) != 1 || docs[0].ConfigFiles[0].Path("sriov") != "/system/overlays/extensions/sriov/etc-sriov-config.yaml" {
		t.Fatalf("got %+v", docs)
	}
	if _, err := ParseDocuments([]byte("kind: ExtensionServiceConfig\nname: x\nconfigFiles: [{mountPath: /a}]\n")); err == nil {
		t.Fatal("empty content was accepted")
	}
}

func TestDelivery(t *testing.T) {
	a := Document{Name: "x", ConfigFiles: []ConfigFile{{Content: "a", MountPath: "/a"}}}
	b := Document{Name: "x", ConfigFiles: []ConfigFile{{Content: "b", MountPath: "/a"}}}
	env := Document{Name: "x", Environment: []string{"A=1"}}
	for _, tc := range []struct {
		name    string
		have    Delivery
		doc     Document
		running bool
		version int
		want    Reaction
	}{
		{"first document, running: not delivered", Delivery{}, a, true, 1, Nothing},
		{"first document, waiting for it", Delivery{}, a, false, 1, Restart},
		{"changed", Delivery{&a, 1}, b, true, 2, Restart},
		{"changed while stopped: started", Delivery{&a, 1}, b, false, 2, Restart},
		{"identical", Delivery{&a, 4}, a, true, 4, Nothing},
		{"identical with environment", Delivery{&env, 1}, env, true, 2, Restart},
	} {
		t.Run(tc.name, func(t *testing.T) {
			next, got := tc.have.Set(tc.doc, tc.running)
			if got != tc.want || next.Version != tc.version {
				t.Errorf("got %s version %d, want %s version %d", got, next.Version, tc.want, tc.version)
			}
		})
	}
	waits, _ := ParseSpec([]byte(minimal + "depends: [{configuration: true}]\n"))
	plain, _ := ParseSpec([]byte(minimal))
	if d, r := (Delivery{&a, 3}).Remove(plain); r != Restart || d.Version != 0 {
		t.Errorf("removal: %s %d", r, d.Version)
	}
	if _, r := (Delivery{&a, 3}).Remove(waits); r != Stop {
		t.Errorf("removal with configuration: true: %s", r)
	}
	if _, r := (Delivery{}).Remove(plain); r != Nothing {
		t.Errorf("removal of nothing: %s", r)
	}
}
