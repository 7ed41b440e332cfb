package plan

import "slices"

// The kernel may not answer about a PF: a write that it has not finished, or firmware
// that hangs, keeps the locks that a look at the PF needs. What the inventory then has of
// it is as of the last look. Nothing is concluded from that which would change anything:
// the PF has no steps, and is no evidence of a quiet port or of another way out.

// silence takes all steps away from a PF about which the kernel does not answer. What
// was kept back for them stays so, and all else of it stays offered.
func (w *work) silence() {
	if w.pf.Silent == "" {
		return
	}
	back := w.out.Withdraw
	for i := range w.out.Steps {
		for _, v := range w.out.Steps[i].Op.VFs() {
			if vf := w.pf.VF(v); vf != nil && !slices.Contains(back, vf.Address) {
				back = append(back, vf.Address)
			}
		}
	}
	w.out.Withdraw, w.out.Steps, w.out.Notices, w.out.Problems, w.out.Safe = back, nil, nil, nil, false
	w.problem(Problem{
		Pending: true, Pos: w.out.Entry,
		Msg:  "the kernel does not answer about this PF: " + w.pf.Silent,
		Hint: "nothing is changed on it until it does, and it is taken up by itself then; a process that holds a device of it open may be what the kernel waits for, else see the kernel log of its driver",
	})
}
