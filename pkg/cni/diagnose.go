package cni

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
)

// DefaultKubelet is where the kubelet keeps what devices it gave to which pod,
// from the moment that it admits a pod on.
const DefaultKubelet = "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint"

// maxCheckpoint bounds what is read of the kubelet's file, in bytes.
const maxCheckpoint = 16 << 20

// noDevice makes the error for a configuration without deviceID name what the
// pod asked for: Multus leaves the key out silently when it finds no
// device, and the reason is in objects that this plugin does not see.
func (p *Plugin) noDevice(f *fault.Error, args *skel.CmdArgs) error {
	pod, uid := podOf(args.Args)
	if uid == "" || p.Kubelet == "" {
		return f
	}
	given, err := podDevices(p.Kubelet, uid)
	if err != nil {
		p.Log.Debug("the kubelet's devices are not known", "err", err)
		return f
	}
	more := *f
	if len(given) == 0 {
		more.Msg += fmt.Sprintf("; pod %s has no device of any resource", pod)
		more.Hint = "have a container of the pod request the pool's resource (limits), once for each of its networks of that pool; " +
			"the pool is the one that the NetworkAttachmentDefinition names in its annotation k8s.v1.cni.cncf.io/resourceName"
		return &more
	}
	var all []string
	names := slices.Sorted(maps.Keys(given))
	for _, resource := range names {
		ids := slices.Sorted(slices.Values(given[resource]))
		all = append(all, fmt.Sprintf("%d of %s (%s)", len(ids), resource, strings.Join(ids, ", ")))
	}
	more.Msg += fmt.Sprintf("; pod %s has %s", pod, strings.Join(all, ", "))
	more.Hint = "does the NetworkAttachmentDefinition have the annotation k8s.v1.cni.cncf.io/resourceName: " + strings.Join(names, " or ") +
		"? If it has, the pod names more networks of that pool than it requests devices"
	return &more
}

// podOf is the pod as the runtime names it in CNI_ARGS.
func podOf(args string) (name, uid string) {
	v := map[string]string{}
	for pair := range strings.SplitSeq(args, ";") {
		key, value, _ := strings.Cut(pair, "=")
		v[key] = value
	}
	return v["K8S_POD_NAMESPACE"] + "/" + v["K8S_POD_NAME"], v["K8S_POD_UID"]
}

// podDevices reads the devices of a pod, by resource, from the kubelet's checkpoint. Its
// format is the kubelet's own since Kubernetes 1.20: a list of entries, each
// with device ids by NUMA node.
func podDevices(path, uid string) (map[string][]string, error) {
	b, _, err := attachment.ReadRegular(path, maxCheckpoint)
	if err != nil {
		return nil, err
	}
	var c struct {
		Data struct {
			PodDeviceEntries []struct {
				PodUID       string
				ResourceName string
				DeviceIDs    map[string][]string
			}
		}
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("kubelet's checkpoint: %w", err)
	}
	by := map[string][]string{}
	for _, e := range c.Data.PodDeviceEntries {
		if e.PodUID != uid {
			continue
		}
		by[e.ResourceName] = append(by[e.ResourceName], slices.Concat(slices.Collect(maps.Values(e.DeviceIDs))...)...)
	}
	return by, nil
}
