package netconf

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	cni100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
)

const prevHint = "prevResult is the result of the plugin before in the list, or at CHECK of ADD; " +
	"the runtime sets it, leave it out of the NetworkAttachmentDefinition"

// Previous decodes prevResult, nil when there is none.
func (c *NetConf) Previous() (*cni100.Result, error) {
	if len(c.Prev) == 0 || string(c.Prev) == "null" {
		return nil, nil
	}
	r, err := c.result()
	if typ, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil, fault.Newf(types.ErrDecodingFailure, prevHint, "network %q: prevResult: %s", c.Name, wrongType(typ))
	}
	if err != nil {
		return nil, fault.Wrapf(err, types.ErrDecodingFailure, prevHint, "network %q: prevResult", c.Name)
	}
	return r, nil
}

// ErrNull is the error of a result with an entry that is null: the library follows
// such an entry when it converts a result.
var ErrNull = errors.New("a list of the result has a null entry")

func (c *NetConf) result() (*cni100.Result, error) {
	var lists struct{ Interfaces, IPs, Routes []*json.RawMessage }
	if err := json.Unmarshal(c.Prev, &lists); err != nil {
		return nil, err
	}
	if slices.Contains(slices.Concat(lists.Interfaces, lists.IPs, lists.Routes), nil) {
		return nil, ErrNull
	}
	r, err := version.NewResult(c.CNIVersion, c.Prev)
	if err != nil {
		return nil, err
	}
	return cni100.NewResultFromResult(r)
}
