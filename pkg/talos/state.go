package talos

import (
	"cmp"
	"context"
	"path"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// statusPath is the status file on a node.
const statusPath = state.Dir + "/" + state.StatusFile

// Status reads the daemon's status file: nil when there is none, because the
// extension is not installed or has not written it yet. It needs os:admin.
func (n *Node) Status(ctx context.Context) (*status.Status, error) {
	data, err := n.stateFile(ctx, state.StatusFile)
	if data == nil || err != nil {
		return nil, err
	}
	var s status.Status
	if err := yaml.Unmarshal(data, &s); err != nil {
		return nil, &Error{Node: n.Name, Msg: "decode " + statusPath, Err: err, Hint: "is sriovctl as new as the extension?"}
	}
	if s.Kind != status.Kind || s.APIVersion != status.APIVersion {
		return nil, &Error{
			Node: n.Name, Msg: statusPath + " is a " + s.APIVersion + " " + s.Kind + ", not a " + status.APIVersion + " " + status.Kind,
			Hint: "is sriovctl as new as the extension?",
		}
	}
	return &s, nil
}

// stateFile reads a file of the daemon, nil when it is not there.
func (n *Node) stateFile(ctx context.Context, name string) ([]byte, error) {
	there, err := n.HasFile(ctx, state.Dir, name)
	if err != nil || !there {
		return nil, err
	}
	return n.ReadFile(ctx, path.Join(state.Dir, name))
}

// Record reads what the daemon wrote down of earlier runs, empty when there is
// nothing. A damaged record, or one of another version, is reported in damaged and
// is as good as none, here as on the node. It needs os:admin.
func (n *Node) Record(ctx context.Context) (rec record.Record, damaged, err error) {
	data, err := n.stateFile(ctx, state.RecordFile)
	if data == nil || err != nil {
		return record.Record{}, nil, err
	}
	rec, damaged = state.Decode(data)
	return rec, damaged, nil
}

// BootID returns the node's boot id. It needs os:admin.
func (n *Node) BootID(ctx context.Context) (string, error) {
	data, err := n.ReadFile(ctx, "/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// Use says which devices are held, as far as the daemon's status says: devices of
// its pools. All others are unknown, which counts as in use.
func Use(s *status.Status) use.Set {
	if s == nil {
		return use.Set{Why: "the extension does not run on the node, and only it knows which pods hold devices"}
	}
	set := use.Set{Devices: make(map[string]use.Status), Why: "it is in no pool of the node's status"}
	for _, p := range s.Pools {
		for i := range p.Members {
			m := &p.Members[i]
			switch m.InUse() {
			case status.UseFree:
				set.Devices[m.ID] = use.Status{State: use.Free}
			case status.UseHeld:
				set.Devices[m.ID] = use.Status{State: use.Held, Holders: []use.Holder{{
					Device: m.ID, Evidence: cmp.Or(m.Holder, "a holder that the node does not name"), Source: use.SourcePodResources,
				}}}
			default:
				why := "the node does not know who has it"
				if m.Use == "" {
					why = "the extension on the node is too old to say whether it is free"
				}
				set.Devices[m.ID] = use.Status{State: use.Unknown, Holders: []use.Holder{{
					Device: m.ID, Evidence: cmp.Or(m.Holder, "use of "+m.ID+" is unknown: "+why),
				}}}
			}
		}
	}
	return set
}
