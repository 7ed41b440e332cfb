package inventory

import (
	"cmp"
	"context"
	"slices"
)

// part is one device as it was read: a PF with its VFs, another function, or a
// subfunction. It is not changed any more.
type part struct {
	pf    PF // of a function that is no PF, its Function
	isPF  bool
	sf    Subfunction
	isSF  bool
	notes []Note
	// silent is why the device is not known as it is now, "" when it is.
	silent string
}

// reading is one Read of a Reader.
type reading struct {
	*Reader
	needs   Needs
	workers int // for one device
	// common is what is about no single device; it may be used when ready is closed.
	common *reader
	ready  <-chan struct{}
}

// function reads the function; nil only when ctx has ended.
func (t *reading) function(ctx context.Context, f *found) *part {
	unread := &part{isPF: f.isPF}
	unread.pf.Function = newFound(f.Address).Function
	if !f.isPF {
		// What it is its pool goes by; that nothing is known of it, HostUnknown says.
		unread.pf.Function = f.Function
	}
	if f.unlisted != nil {
		return t.remembered(t.laneOf(f.Address), unread, "the kernel does not say which VFs it has: "+f.unlisted.Error())
	}
	return t.ask(ctx, f.Address, unread, func(r *reader) *part { return r.readPart(ctx, f, t.wait) })
}

// subfunction reads what the subfunction has.
func (t *reading) subfunction(ctx context.Context, sf Subfunction) *part {
	return t.ask(ctx, sf.Name, &part{isSF: true, sf: sf}, func(r *reader) *part {
		t.wait(r)
		sf.RDMA, sf.VDPA = r.rdmaOf(sf.Name), r.vdpa[sf.Name]
		for _, ref := range r.netdevs[sf.Name] {
			sf.Netdevs = append(sf.Netdevs, r.netdev(ref))
		}
		return &part{isSF: true, sf: sf}
	})
}

// ask reads a device on its lane. While it is silent, the answer is what was read last,
// or unread when that is nothing.
func (t *reading) ask(ctx context.Context, device string, unread *part, read func(*reader) *part) *part {
	l := t.laneOf(device)
	var got *part
	epoch := l.now()
	ok, since := l.do(ctx, t.bound, t.back, func() {
		r := &reader{
			tree: t.tree, net: t.net, needs: t.needs, workers: t.workers, lane: l, unlisted: map[string]bool{},
		}
		if t.bound > 0 {
			r.tree = laneTree{t.tree, l}
		}
		p := read(r)
		if ctx.Err() != nil {
			return // the questions after its end were not asked
		}
		p.notes = r.notes
		l.keep(epoch, t.needs.VFSettings, p)
		got = p
	})
	if ok {
		return got
	}
	if since.IsZero() {
		return nil
	}
	return t.remembered(l, unread, silence(since))
}

// remembered is the device as it was read last, or unread when that is nothing, and why
// that is all.
func (t *reading) remembered(l *lane, unread *part, why string) *part {
	p := *cmp.Or(l.remembered(t.needs.VFSettings), unread)
	p.silent = why
	return &p
}

// wait gives the reader what is about no single device.
func (t *reading) wait(r *reader) {
	r.lane.pause()
	<-t.ready
	r.classes, r.lists = t.common.classes, t.common.lists
	r.lane.answered()
}

// readPart reads the function, and the VFs that it has.
func (r *reader) readPart(ctx context.Context, f *found, wait func(*reader)) *part {
	r.readFunction(f)
	slices.SortFunc(f.vfs, func(a, b vfLink) int { return cmp.Compare(a.index, b.index) })
	vfs := make([]*found, len(f.vfs))
	each(ctx, r.workers, len(f.vfs), func(i int) { vfs[i] = r.readVF(f.vfs[i]) })
	var paths []string
	for i, vf := range vfs {
		if vf != nil {
			f.VFs = append(f.VFs, VF{Function: vf.Function, Index: f.vfs[i].index})
			paths = append(paths, vf.path)
		}
	}
	wait(r)
	if f.isPF {
		r.equipPF(ctx, &f.PF, f.path, paths)
		r.askNetwork(ctx, &f.PF)
	} else {
		r.equip(&f.Function, f.path, r.port)
		if r.net != nil {
			r.ddpProfile(ctx, &f.Function)
		}
	}
	return &part{pf: f.PF, isPF: f.isPF}
}
