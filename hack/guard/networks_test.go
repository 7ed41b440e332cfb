package guard_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/cni/netconf"
	"github.com/talos-sriov/talos-sriov/pkg/network"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

var block = regexp.MustCompile("(?ms)^ *```(yaml|console)\n(.*?)^ *```$")

// networksPage is docs/networks.md taken apart.
type networksPage struct {
	resource map[string]string // of the networks of the page, by name
	pods     []pod
	commands []string
	kinds    map[string]int // how many blocks there are of each
}

type pod struct {
	Metadata struct {
		Name        string
		Annotations map[string]string
	}
	Spec struct {
		Containers []struct {
			Resources struct{ Requests, Limits map[string]string }
		}
	}
}

// Every network on the page is read by the CNI plugin's decoder, every document
// by the daemon's, every description by sriovctl's; every pod asks for as many
// devices as it names networks of a pool; and files that commands name are there.
func TestNetworksDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "networks.md"))
	if err != nil {
		t.Fatal(err)
	}
	p := networksPage{resource: map[string]string{}, kinds: map[string]int{}}
	for _, m := range block.FindAllSubmatch(text, -1) {
		line := 1 + bytes.Count(text[:bytes.Index(text, m[0])], []byte("\n"))
		if string(m[1]) == "console" {
			p.kinds["console"]++
			p.commands = append(p.commands, strings.Split(string(m[2]), "\n")...)
			continue
		}
		if err := p.read(m[2]); err != nil {
			t.Errorf("docs/networks.md:%d: %v", line, err)
		}
	}
	for _, pod := range p.pods {
		if err := p.asks(pod); err != nil {
			t.Errorf("pod %s: %v", pod.Metadata.Name, err)
		}
	}
	for _, c := range p.commands {
		if err := p.command(c); err != nil {
			t.Errorf("%q: %v", c, err)
		}
	}
	for kind, least := range map[string]int{"networks": 7, "NetworkAttachmentDefinition": 2, "SRIOVConfig": 3, "Pod": 4, "VirtualMachineInstance": 1, "console": 4} {
		if p.kinds[kind] < least {
			t.Errorf("only %d blocks of %s were found, of all %v", p.kinds[kind], kind, p.kinds)
		}
	}
}

func (p *networksPage) read(text []byte) error {
	var head struct {
		Kind     string
		Networks []any
	}
	if err := yaml.Unmarshal(text, &head); err != nil {
		return err
	}
	kind := head.Kind
	if kind == "" && head.Networks != nil {
		kind = "networks"
	}
	p.kinds[kind]++
	switch kind {
	case "networks":
		list, err := network.Load("block", text)
		if err != nil {
			return err
		}
		for i := range list {
			p.resource[list[i].Name] = list[i].ResourceName
			config, err := list[i].Config()
			if err == nil {
				err = readConfig(config)
			}
			if err != nil {
				return err
			}
		}
		_, err = network.Manifests(list, "admissionregistration.k8s.io/v1")
		return err
	case "NetworkAttachmentDefinition":
		var nad struct {
			Metadata struct {
				Name        string
				Annotations map[string]string
			}
			Spec struct{ Config string }
		}
		if err := yaml.Unmarshal(text, &nad); err != nil {
			return err
		}
		resource := nad.Metadata.Annotations["k8s.v1.cni.cncf.io/resourceName"]
		if resource == "" {
			return errors.New("the annotation with the resource is missing")
		}
		p.resource[nad.Metadata.Name] = resource
		return readConfig([]byte(nad.Spec.Config))
	case "SRIOVConfig":
		_, err := spec.LoadFile("block", text)
		return err
	case "Pod":
		var one pod
		if err := yaml.Unmarshal(text, &one); err != nil {
			return err
		}
		p.pods = append(p.pods, one)
		return nil
	case "VirtualMachineInstance":
		return p.machine(text)
	}
	return fmt.Errorf("nothing here reads kind %q", kind)
}

// readConfig gives the configuration, or each of a list that is ours, to the CNI
// plugin, with the device that Multus adds.
func readConfig(config []byte) error {
	dec := json.NewDecoder(bytes.NewReader(config))
	var c map[string]any
	if err := dec.Decode(&c); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("there is more than one value")
	}
	all := []any{c}
	if list, ok := c["plugins"].([]any); ok {
		all = list
	}
	for _, one := range all {
		plugin, _ := one.(map[string]any)
		if plugin["type"] != "sriov" {
			continue
		}
		plugin["name"], plugin["cniVersion"], plugin["deviceID"] = c["name"], c["cniVersion"], "0000:21:10.0"
		b, err := json.Marshal(plugin)
		if err != nil {
			return err
		}
		if _, err := netconf.Parse(b); err != nil {
			return err
		}
	}
	return nil
}

// asks compares what a pod asks for with what its networks need.
func (p *networksPage) asks(one pod) error {
	names, err := references(one.Metadata.Annotations["k8s.v1.cni.cncf.io/networks"])
	if err != nil {
		return err
	}
	need := map[string]string{}
	count := map[string]int{}
	for _, n := range names {
		resource, ok := p.resource[n]
		if !ok {
			return fmt.Errorf("network %q is not on the page", n)
		}
		count[resource]++
		need[resource] = fmt.Sprint(count[resource])
	}
	limits := maps.Clone(one.Spec.Containers[0].Resources.Limits)
	maps.DeleteFunc(limits, func(name, _ string) bool { return !strings.Contains(name, "/") })
	if !maps.Equal(limits, need) {
		return fmt.Errorf("it asks for %v, its networks need %v", limits, need)
	}
	for name, value := range one.Spec.Containers[0].Resources.Requests {
		if one.Spec.Containers[0].Resources.Limits[name] != value {
			return fmt.Errorf("request and limit of %s differ", name)
		}
	}
	return nil
}

func references(annotation string) (names []string, err error) {
	if strings.HasPrefix(annotation, "[") {
		var list []struct{ Name string }
		err = json.Unmarshal([]byte(annotation), &list)
		for _, e := range list {
			names = append(names, e.Name)
		}
		return names, err
	}
	return strings.Split(annotation, ","), nil
}

// machine reads a virtual machine: each interface has its network, and those by
// SR-IOV a network of the page.
func (p *networksPage) machine(text []byte) error {
	var vm struct {
		Spec struct {
			Domain struct {
				Devices struct {
					Interfaces []struct {
						Name  string
						SRIOV *struct{}
					}
				}
			}
			Networks []struct {
				Name   string
				Multus struct {
					NetworkName string `yaml:"networkName"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &vm); err != nil {
		return err
	}
	found := false
	for _, i := range vm.Spec.Domain.Devices.Interfaces {
		for _, n := range vm.Spec.Networks {
			if i.Name == n.Name && i.SRIOV != nil && p.resource[n.Multus.NetworkName] != "" {
				found = true
			}
		}
	}
	if !found {
		return errors.New("no interface by SR-IOV with a network of the page")
	}
	return nil
}

// command looks whether the files of the repository and the options that a
// command names exist. What sriovctl prints is tested in cmd/sriovctl.
func (p *networksPage) command(line string) error {
	line, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
	if !ok {
		return nil
	}
	words := strings.Fields(line)
	for _, w := range words {
		file, ok := strings.CutPrefix(w, "@")
		if ok && strings.Contains(file, "/") {
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				return err
			}
		}
	}
	switch words[0] {
	case "talosctl":
		return nil
	case "sriovctl":
		page := strings.Join(words[1:2], "-")
		if words[1] == "generate" {
			page = strings.Join(words[1:3], "-")
		}
		help, err := os.ReadFile(filepath.Join(root, "docs", "sriovctl", page+".md")) // made from its options
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(words, func(w string) bool {
			return strings.HasPrefix(w, "--") && !bytes.Contains(help, []byte("      "+w+" "))
		}); i >= 0 {
			return fmt.Errorf("there is no option %s", words[i])
		}
		return nil
	}
	return errors.New("nothing here knows this command")
}
