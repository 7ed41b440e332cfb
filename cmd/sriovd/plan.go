package main

import (
	"encoding/json"
	"io"

	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/report"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// planRenderers write a plan in the formats of -o.
func planRenderers() map[string]func(io.Writer, *plan.Plan) error {
	return map[string]func(io.Writer, *plan.Plan) error{
		"text": func(w io.Writer, p *plan.Plan) error { return status.PlanText(w, report.Plan(p)) },
		"json": func(w io.Writer, p *plan.Plan) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(report.Plan(p))
		},
	}
}
