package agent

import (
	"errors"

	"github.com/talos-sriov/talos-sriov/pkg/source"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// decision is which config is in force, and what is reported of the newest one.
type decision struct {
	// known is false as long as it is not known whether there is a config.
	// Nothing may be done then.
	known bool
	// cfg is the config in force; nil means that nothing is configured.
	cfg *spec.Config
	// good is the last good config when it is another than cfg; PFs on which
	// cfg is not supported keep what it asks of them.
	good *spec.Config
	// keepable is set when cfg, although it is not supported on some PFs, may take
	// the place of the last good config: that has nothing better for them.
	keepable bool
	// hash identifies the config in force.
	hash string
	spec status.Spec
}

// judged is what the parser returned for a config.
type judged struct {
	cfg      *spec.Config
	err      error
	warnings []*spec.Error
}

// parsedConfigs parses each config once: a node reconciles often and its config
// changes seldom. It keeps the newest and the last good one.
type parsedConfigs struct {
	seen map[string]judged // by name and content
}

// load returns what the parser returned for the config. name is what messages call it.
func (d *parsedConfigs) load(name string, data []byte) judged {
	key := name + "\x00" + spec.Hash(data)
	if j, ok := d.seen[key]; ok {
		return j
	}
	var j judged
	if j.cfg, j.err = spec.Load(name, data); j.err == nil {
		j.warnings = j.cfg.Warnings()
	}
	const most = 4
	if d.seen == nil || len(d.seen) >= most {
		d.seen = map[string]judged{}
	}
	d.seen[key] = j
	return j
}

// lastGoodName is what messages call the last good config.
const lastGoodName = "last good config"

// decide is rule 4 of the reconcile contract (docs/architecture.md): a bad config
// changes nothing, the last good one stays in force; no config means that nothing is
// configured, and that is a state that a bad config does not change either. newest is
// nil when it is not known yet whether there is one.
func decide(newest *source.Document, lastGood state.LastGood, load func(name string, data []byte) judged) decision {
	if newest == nil {
		return decision{spec: status.Spec{State: status.SpecUnknown}}
	}
	if !newest.Present {
		return decision{known: true, spec: status.Spec{State: status.SpecAbsent, Source: newest.Path}}
	}
	none := lastGood.Known && len(lastGood.Data) == 0
	v := decision{known: true}
	v.spec = status.Spec{State: status.SpecAccepted, Source: newest.Path}
	// A config whose content is not known is one that is refused.
	j := judged{err: newest.Err}
	if j.err == nil {
		v.hash = spec.Hash(newest.Data)
		v.spec.Hash, v.spec.InForce = v.hash, v.hash
		j = load(newest.Path, newest.Data)
	}
	if j.err == nil {
		v.cfg = j.cfg
		v.spec.Warnings = specErrors(j.warnings)
		if lastGood.Known && !none && spec.Hash(lastGood.Data) != v.hash {
			// It was good once; if a newer version of this program refuses it,
			// there is nothing to fall back to.
			v.good = load(lastGoodName, lastGood.Data).cfg
		}
		return v
	}
	v.spec.State = status.SpecRefused
	v.spec.Errors = errorsOf(j.err)
	v.hash, v.spec.InForce = "", ""
	if none {
		return v // nothing was configured, and that stays in force
	}
	if !lastGood.Known {
		// Nothing was ever good here, or it cannot be read yet: touch nothing.
		v.known = false
		return v
	}
	if j = load(lastGoodName, lastGood.Data); j.err != nil {
		v.known = false
		return v
	}
	v.cfg, v.hash = j.cfg, spec.Hash(lastGood.Data)
	v.spec.InForce, v.spec.LastGood = v.hash, true
	return v
}

func errorsOf(err error) []spec.Error {
	if list, ok := errors.AsType[*spec.Errors](err); ok {
		return specErrors(list.List)
	}
	return []spec.Error{{Msg: err.Error()}}
}

func specErrors(list []*spec.Error) []spec.Error {
	out := make([]spec.Error, 0, len(list))
	for _, e := range list {
		out = append(out, *e)
	}
	return out
}
