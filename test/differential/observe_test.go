package differential

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"sigs.k8s.io/yaml"
)

// observation is everything that was seen of a program, one path for each fact.
type observation map[string]string

const streamFailed = "the stream failed"

// observe asks for every device, and notes everything.
func (k *kubelet) observe(ctx context.Context, odd bool) (observation, error) {
	out := observation{}
	for _, name := range k.names() {
		r := k.resource(name)
		at := "resource/" + name
		out[at+"/endpoint"], out[at+"/versions"], out[at+"/options"] = untagged(r.endpoint), r.versions, r.options
		if r.list == nil {
			out[at] = streamFailed
			continue
		}
		out[at] = fmt.Sprintf("%d devices", len(r.list.GetDevices()))
		var ids, healthy []string
		for _, d := range r.list.GetDevices() {
			numa := "none"
			if d.GetTopology() != nil {
				var nodes []string
				for _, n := range d.GetTopology().GetNodes() {
					nodes = append(nodes, fmt.Sprint(n.GetID()))
				}
				numa = strings.Join(nodes, ",")
			}
			out[at+"/device/"+d.GetID()] = "numa " + numa
			out[at+"/device/"+d.GetID()+"/health"] = d.GetHealth()
			ids = append(ids, d.GetID())
			if d.GetHealth() == v1beta1.Healthy {
				healthy = append(healthy, d.GetID())
			}
		}
		slices.Sort(ids)
		slices.Sort(healthy)
		api := v1beta1.NewDevicePluginClient(r.conn)
		ask := func(label string, containers ...[]string) error {
			req := &v1beta1.AllocateRequest{}
			for _, c := range containers {
				req.ContainerRequests = append(req.ContainerRequests, &v1beta1.ContainerAllocateRequest{DevicesIds: c})
			}
			resp, err := api.Allocate(ctx, req)
			return out.answer(at+"/allocate/"+label, resp, err)
		}
		var errs []error
		for _, id := range ids {
			errs = append(errs, ask(id, []string{id}))
		}
		switch {
		case len(healthy) > 1:
			reversed := slices.Clone(healthy)
			slices.Reverse(reversed)
			errs = append(errs, ask("all", healthy), ask("reversed", reversed),
				ask("two", healthy[:1], healthy[1:]))
		case len(healthy) == 1:
			errs = append(errs, ask("again", healthy))
		}
		if odd {
			errs = append(errs, ask("unknown", []string{"0000:ff:1f.7"}), ask("nothing"))
			if len(healthy) > 0 {
				errs = append(errs, ask("twice", []string{healthy[0], healthy[0]}))
			}
		}
		if err := all(errs...); err != nil {
			return nil, err
		}
		o, err := api.GetDevicePluginOptions(ctx, &v1beta1.Empty{})
		if err != nil {
			return nil, err
		}
		out[at+"/preferred"] = fmt.Sprint(o.GetGetPreferredAllocationAvailable())
		out[at+"/preStart"] = fmt.Sprint(o.GetPreStartRequired())
	}
	return out, all(out.deviceInfo(), out.cdi())
}

// answer notes an Allocate's.
func (o observation) answer(at string, resp *v1beta1.AllocateResponse, err error) error {
	if err != nil {
		o[at] = "refused"
		return nil
	}
	o[at] = fmt.Sprintf("%d containers", len(resp.GetContainerResponses()))
	for i, c := range resp.GetContainerResponses() {
		at := fmt.Sprintf("%s/%d", at, i)
		for key, value := range c.GetEnvs() {
			if !strings.HasSuffix(key, "_INFO") {
				o[at+"/env/"+key] = value
				continue
			}
			o[at+"/env/"+key] = "JSON"
			var info map[string]map[string]map[string]string
			if err := json.Unmarshal([]byte(value), &info); err != nil {
				return fmt.Errorf("%s: %q: %w", key, value, err)
			}
			for id, providers := range info {
				for provider, keys := range providers {
					p := at + "/info/" + id + "/" + provider
					o[p] = "given"
					for k, v := range keys {
						o[p+"/"+k] = v
					}
				}
			}
		}
		for _, d := range c.GetDevices() {
			key := at + "/node/" + d.GetHostPath()
			if _, twice := o[key]; twice {
				key += "/twice"
			}
			o[key] = d.GetContainerPath() + " " + d.GetPermissions()
		}
		for _, m := range c.GetMounts() {
			o[at+"/mount/"+m.GetHostPath()] = m.GetContainerPath()
		}
		for k, v := range c.GetAnnotations() {
			o[at+"/annotation/"+k] = v
		}
		for _, d := range c.GetCdiDevices() {
			o[at+"/cdi/"+d.GetName()] = "given"
		}
	}
	return nil
}

// deviceInfo notes the device-info files.
func (o observation) deviceInfo() error {
	return each(infoDir, func(name string, data []byte, mode os.FileMode) error {
		at := "devinfo/" + name
		o[at] = mode.String()
		var doc map[string]any
		if err := json.Unmarshal(data, &doc); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for k, v := range doc {
			if sub, ok := v.(map[string]any); ok {
				for k2, v2 := range sub {
					o[at+"/"+k+"/"+k2] = fmt.Sprint(v2)
				}
				continue
			}
			o[at+"/"+k] = fmt.Sprint(v)
		}
		return nil
	})
}

// cdi notes the CDI files, and what they say of each device.
func (o observation) cdi() error {
	return each(cdiDir, func(name string, data []byte, _ os.FileMode) error {
		o["cdifile/"+name] = "there"
		var doc struct {
			Kind    string `json:"kind"`
			Devices []struct {
				Name  string `json:"name"`
				Edits struct {
					Nodes []struct{ Path, HostPath, Permissions string } `json:"deviceNodes"`
				} `json:"containerEdits"`
			} `json:"devices"`
		}
		if err := yaml.Unmarshal(data, &doc); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, d := range doc.Devices {
			for _, n := range d.Edits.Nodes {
				o["cdi/"+doc.Kind+"="+d.Name+"/"+n.HostPath] = n.Path + " " + n.Permissions
			}
		}
		return nil
	})
}

// files notes which files and sockets there are at a moment.
func (o observation) files(when string) error {
	for what, dir := range map[string]string{"devinfo": infoDir, "cdifile": cdiDir, "socket": kubeletDir + "/device-plugins"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			o[when+"/"+what+"/"+untagged(e.Name())] = "there"
		}
	}
	return nil
}

// tag is what makes the name of a socket of ours unlike any other.
var tag = regexp.MustCompile(`-[0-9a-f]{8}\.sock$`)

// untagged is the name of a socket as the other program would have it, which
// begins every name of ours.
func untagged(name string) string { return tag.ReplaceAllString(name, ".sock") }

func each(dir string, f func(name string, data []byte, mode os.FileMode) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		if err := f(e.Name(), data, fi.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}
