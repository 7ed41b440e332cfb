package talos

import (
	"context"
	"path"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/status"
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
	s, err := status.Decode(data)
	if err != nil {
		return nil, &Error{Node: n.Name, Msg: "read " + statusPath, Err: err, Hint: "is sriovctl as new as the extension?"}
	}
	return s, nil
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
