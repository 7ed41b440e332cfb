package agent

import (
	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/source"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/state"
)

// lastGoodName is what messages call the last good config.
const lastGoodName = "last good config"

// configs parse each config once: a node reconciles often and its config changes
// seldom.
type configs struct {
	newest *decide.Document
	good   decide.LastGood
}

// accept takes in the newest document.
func (c *configs) accept(doc *source.Document) {
	next := &decide.Document{Path: doc.Path, Present: doc.Present}
	switch {
	case doc.Err != nil:
		// A config whose content is not known is one that is refused.
		next.Err = doc.Err
	case doc.Present:
		next.Parsed = parse(doc.Path, doc.Data)
	}
	c.newest = next
}

// keep takes in what is kept as the last good one.
func (c *configs) keep(good state.LastGood) {
	switch hash := spec.Hash(good.Data); {
	case !good.Known || len(good.Data) == 0:
		c.good = decide.LastGood{Known: good.Known, None: good.Known}
	case c.good.Hash == hash:
	case c.newest != nil && c.newest.Hash == hash:
		c.good = decide.LastGood{Known: true, Parsed: c.newest.Parsed}
	default:
		c.good = decide.LastGood{Known: true, Parsed: parse(lastGoodName, good.Data)}
	}
}

// now is what is known of the configs.
func (c *configs) now() decide.Config { return decide.Config{Newest: c.newest, LastGood: c.good} }

// parse parses a config; name is what messages call it.
func parse(name string, data []byte) decide.Parsed {
	p := decide.Parsed{Data: data, Hash: spec.Hash(data)}
	if p.Config, p.Err = spec.Load(name, data); p.Err == nil {
		p.Warnings = p.Config.Warnings()
	}
	return p
}
