package record

// Evidence is what is known of a PF and the machine's own network. Neither is true
// when it is not known.
type Evidence struct {
	Card Card
	// Safe is true when the PF was seen not to carry the machine's network, for
	// long enough; Uplink when it was seen to carry it.
	Safe, Uplink bool
}

// Proven returns the record with every PF that was seen to be no uplink recorded as
// safe under the config with the hash, and whether anything of it is new. A PF that
// turned out to be an uplink loses its proof.
func (r Record) Proven(seen []Evidence, hash string) (Record, bool) {
	c, changed := r.Clone(), false
	for i := range seen {
		want := ""
		switch e := &seen[i]; {
		case e.Safe:
			want = hash
		case !e.Uplink:
			continue
		}
		card := seen[i].Card
		f := c.now(card)
		if f.SafeSpec == want {
			continue
		}
		f.SafeSpec, changed = want, true
		c.PFs[card.Address] = f
	}
	return c, changed
}
