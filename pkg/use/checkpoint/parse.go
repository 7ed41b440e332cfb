package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// ErrFormat is a file that does not read as a checkpoint of a kubelet that is known.
var ErrFormat = errors.New("it is in no known form of the kubelet's checkpoint")

// file is what is read of the kubelet's file.
type file struct {
	Data *struct {
		// PodDeviceEntries is null without entries, and always there.
		PodDeviceEntries json.RawMessage
	}
}

type entry struct {
	PodUID, ContainerName, ResourceName string
	DeviceIDs                           json.RawMessage
}

// devices are those of an entry: by NUMA node, or as one list by a kubelet of before
// 1.20.
func (e *entry) devices() ([]string, error) {
	var ids []string
	if bytes.HasPrefix(e.DeviceIDs, []byte("[")) {
		err := json.Unmarshal(e.DeviceIDs, &ids)
		return ids, err
	}
	var nodes map[string][]string
	if err := json.Unmarshal(e.DeviceIDs, &nodes); err != nil {
		return nil, err
	}
	for _, node := range nodes {
		ids = append(ids, node...)
	}
	return ids, nil
}

// entry is e for others.
func (e *entry) entry() (use.Entry, error) {
	if e.PodUID == "" || e.ResourceName == "" || e.DeviceIDs == nil {
		return use.Entry{}, errors.New("it has no pod, no resource or no devices")
	}
	ids, err := e.devices()
	slices.Sort(ids)
	return use.Entry{PodUID: e.PodUID, Container: e.ContainerName, Resource: e.ResourceName, Devices: slices.Compact(ids)}, err
}

// Parse reads the content of a checkpoint.
func Parse(data []byte) ([]use.Entry, error) {
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if f.Data == nil || f.Data.PodDeviceEntries == nil {
		return nil, fmt.Errorf("%w: no Data.PodDeviceEntries", ErrFormat)
	}
	var entries []entry
	if err := json.Unmarshal(f.Data.PodDeviceEntries, &entries); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	var out []use.Entry
	for i := range entries {
		e, err := entries[i].entry()
		if err != nil {
			return nil, fmt.Errorf("%w: entry %d: %w", ErrFormat, i, err)
		}
		out = append(out, e)
	}
	return out, nil
}
