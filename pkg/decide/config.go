package decide

import (
	"errors"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// Config is what is known of the configs.
type Config struct {
	// Newest is nil as long as it is not known whether there is one.
	Newest *Document
	// LastGood is what was accepted last.
	LastGood LastGood
}

// Document is the place where the config is expected.
type Document struct {
	Path    string
	Present bool
	Parsed
}

// LastGood is the last config that was accepted whole.
type LastGood struct {
	// Known is false when none was ever accepted, or that cannot be read (yet).
	Known bool
	// None is true when what was accepted last is that there is none.
	None bool
	Parsed
}

// Parsed is the text of a config and what the parser made of it.
type Parsed struct {
	Data     []byte
	Hash     string // of Data, "" when that is not known
	Config   *spec.Config
	Err      error // why Config is nil
	Warnings []*spec.Error
}

// inForce is which config is in force, and what is reported of the newest one.
type inForce struct {
	// known is false as long as it is not known whether there is a config.
	known bool
	// cfg is nil when nothing is configured; hash identifies it.
	cfg  *spec.Config
	hash string
	// good is the last good config when it is another than cfg; PFs on which
	// cfg is not supported keep what it asks of them.
	good *spec.Config
	spec status.Spec
}

// inForce is rule 4 of the reconcile contract (docs/architecture.md): a bad config
// changes nothing, the last good one stays in force; no config means that nothing is
// configured, and that is a state that a bad config does not change either.
func (c Config) inForce() inForce {
	switch {
	case c.Newest == nil:
		return inForce{spec: status.Spec{State: status.SpecUnknown}}
	case !c.Newest.Present:
		return inForce{known: true, spec: status.Spec{State: status.SpecAbsent, Source: c.Newest.Path}}
	case c.Newest.Err != nil:
		return c.refused()
	}
	n := c.Newest
	v := inForce{known: true, cfg: n.Config, hash: n.Hash}
	v.spec = status.Spec{State: status.SpecAccepted, Source: n.Path, Hash: n.Hash, InForce: n.Hash, Warnings: specErrors(n.Warnings)}
	if c.LastGood.Known && !c.LastGood.None && c.LastGood.Hash != n.Hash {
		// It was good once; if a newer version of this program refuses it,
		// there is nothing to fall back to.
		v.good = c.LastGood.Config
	}
	return v
}

// refused is what is in force under a newest config that is bad, or whose content is
// not known.
func (c Config) refused() inForce {
	v := inForce{spec: status.Spec{State: status.SpecRefused, Source: c.Newest.Path, Hash: c.Newest.Hash, Errors: errorsOf(c.Newest.Err)}}
	switch {
	case !c.LastGood.Known:
		// Nothing was ever good here, or it cannot be read yet: touch nothing.
	case c.LastGood.None:
		v.known = true // nothing was configured, and that stays in force
	case c.LastGood.Err == nil:
		v.known, v.cfg, v.hash = true, c.LastGood.Config, c.LastGood.Hash
		v.spec.InForce, v.spec.LastGood = v.hash, true
	}
	return v
}

// accepted returns the config that a bad one must not displace, nil when the newest
// is not such a one. That there is none is such a state too, but not at an early
// start, when the machine config may not be loaded yet: there must have been a config,
// or a kubelet, which Talos starts later than that.
func (c Config) accepted(s status.SpecState, displaces, configured, answered bool) *Accepted {
	switch {
	case s == status.SpecAccepted, s == status.SpecPartly && displaces:
		return &Accepted{Data: c.Newest.Data}
	case s == status.SpecAbsent && (configured || answered):
		return &Accepted{}
	}
	return nil
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
