package report

import (
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Registration is how a resource stands with the kubelet.
type Registration struct {
	Registered bool
	// Err is why it is not as it should be, Waiting what is waited for; "" for
	// nothing.
	Err, Waiting string
}

// Pool is one pool. r is nil while nothing is known of its registration.
func Pool(p *pool.Pool, r *Registration, used use.Set) status.Pool {
	out := status.Pool{ResourceName: p.Resource, Devices: len(p.Devices), Healthy: p.Healthy(), Notices: p.Notices}
	if r != nil {
		out.Registered = r.Registered
		out.Error = r.Err
		if out.Error == "" && !r.Registered && r.Waiting != "" {
			out.Error = "waits for " + r.Waiting
		}
	}
	for i := range p.Devices {
		d := &p.Devices[i]
		dev := status.Device{ID: d.ID, Healthy: d.Healthy}
		if !d.Healthy {
			dev.Reason = status.Reason{Cause: string(d.Reason.Cause), Text: d.Reason.Text}
		}
		dev.Use, dev.Holders = Use(used.Of(d.ID))
		out.Members = append(out.Members, dev)
	}
	return out
}
