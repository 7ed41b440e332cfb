package record

import "slices"

// Tokens are the force tokens of the config: each asks once, for the PFs of its
// entry, not to wait for the holders of VFs.
type Tokens struct {
	// Config is true when a config is in force, and All are all tokens that it has,
	// also for PFs that are not there.
	Config bool
	All    []string
	// PFs are the PFs that are there, as far as they have a token that was not
	// carried out yet.
	PFs []Token
}

// Token is the force token of one PF.
type Token struct {
	Card Card
	Text string
	// Done is true when nothing is left that it could be about: the PF is as the
	// config has it.
	Done bool
}

// remembered is how many tokens of a PF are kept.
const remembered = 16

// Acknowledge returns the record with the tokens recorded as carried out that are
// done, and the addresses of their PFs. When the record was lost, every token of the
// config counts as carried out: it may have been, and pods do not lose their VFs
// twice. Without a config there is nothing to compare a later one with, and the
// record stays lost.
func (r Record) Acknowledge(t Tokens) (Record, []string) {
	c := r.Clone()
	if r.Lost && !t.Config {
		return c, nil
	}
	if r.Lost {
		c.Lost, c.Spent = false, union(r.Spent, t.All)
	}
	var done []string
	for i := range t.PFs {
		p := &t.PFs[i]
		if !p.Done && !r.Lost {
			continue
		}
		f := c.now(p.Card)
		if slices.Contains(f.Forced, p.Text) {
			continue
		}
		f.Forced = append(slices.Clone(f.Forced[max(0, len(f.Forced)-remembered+1):]), p.Text)
		c.PFs[p.Card.Address] = f
		done = append(done, p.Card.Address)
	}
	return c, done
}
