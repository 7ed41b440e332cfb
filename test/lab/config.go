package lab

import (
	"bytes"
	"context"
	"embed"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"

	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/artifact"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/controlplane"
)

// The guest's ports of the machine's address qemu.Host, beside the API server's 6443.
const (
	configPort   = 80
	registryPort = 5000
	plainPort    = 8001
)

//go:embed files/v1.13.yaml files/v1.14.yaml
var patches embed.FS

// patchFor is the template of the patch for a version's machine config.
func patchFor(version string) (string, error) {
	i := strings.LastIndex(version, ".")
	b, err := patches.ReadFile("files/" + version[:i] + ".yaml")
	if err != nil {
		return "", fmt.Errorf("machine config for Talos %s: %w", version, err)
	}
	return string(b), nil
}

// ctl runs talosctl, of the node's version, and returns its output.
func ctl(ctx context.Context, program, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	// Not the user's own: neither a configuration nor a node.
	cmd.Env = append(os.Environ(), "TALOSCONFIG="+filepath.Join(dir, "talosconfig"), "HOME="+dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("talosctl %s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// secrets makes the secrets bundle of the lab's cluster, once, and gives what the
// control plane has of it.
func secrets(ctx context.Context, talosctl, dir string) (*controlplane.Secrets, error) {
	path := filepath.Join(dir, "secrets.yaml")
	if _, err := os.Stat(path); err != nil {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make directory for secrets: %w", err)
		}
		if _, err := ctl(ctx, talosctl, dir, "gen", "secrets", "--output-file", path+".new"); err != nil {
			return nil, err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return nil, fmt.Errorf("keep the secrets: %w", err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the secrets: %w", err)
	}
	type pair struct{ Crt, Key string }
	var b struct {
		Secrets struct {
			BootstrapToken string `yaml:"bootstraptoken"`
		}
		Certs struct {
			K8s               pair `yaml:"k8s"`
			K8sServiceAccount pair `yaml:"k8sserviceaccount"`
		}
	}
	if err := yaml.Unmarshal(text, &b); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	out := &controlplane.Secrets{BootstrapToken: b.Secrets.BootstrapToken}
	for to, from := range map[*[]byte]string{&out.CACert: b.Certs.K8s.Crt, &out.CAKey: b.Certs.K8s.Key, &out.ServiceAccountKey: b.Certs.K8sServiceAccount.Key} {
		if *to, err = base64.StdEncoding.DecodeString(from); err != nil || len(*to) == 0 {
			return nil, fmt.Errorf("%s has no key or certificate where one must be: %w", path, err)
		}
	}
	return out, nil
}

// writeConfig writes a node's machine config, as talosctl gen config makes it, and the
// talosconfig of its administrator, into dir.
func writeConfig(ctx context.Context, talosctl, dir, bundle string, img artifact.TalosImage, name, document string) error {
	text, err := patchFor(img.Version)
	if err != nil {
		return err
	}
	patch, err := template.New("").Parse(text)
	if err != nil {
		return fmt.Errorf("read the patch: %w", err)
	}
	f, err := os.Create(filepath.Join(dir, "lab.yaml"))
	if err != nil {
		return fmt.Errorf("write the patch: %w", err)
	}
	defer f.Close()
	if err := patch.Execute(f, map[string]any{
		"Name": name, "Registry": fmt.Sprintf("http://%s:%d", controlplane.GuestAPIServer, registryPort), "Pause": artifact.PauseImage,
	}); err != nil {
		return fmt.Errorf("write the patch: %w", err)
	}
	args := []string{
		"gen", "config", "lab", "https://" + controlplane.GuestAPIServer + ":6443", "--with-secrets", bundle, "--force", "--output", dir,
		"--kubernetes-version", strings.TrimPrefix(img.Kubernetes, "v"), "--with-docs=false", "--with-examples=false", "--config-patch", "@" + f.Name(),
	}
	if document != "" {
		p := filepath.Join(dir, "document.yaml")
		if err := os.WriteFile(p, []byte(document), 0o600); err != nil {
			return fmt.Errorf("write the config: %w", err)
		}
		args = append(args, "--config-patch", "@"+p)
	}
	_, err = ctl(ctx, talosctl, dir, args...)
	return err
}
