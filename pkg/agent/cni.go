package agent

import (
	"context"
	"log/slog"
	"sync"

	"github.com/talos-sriov/talos-sriov/pkg/install"
	"github.com/talos-sriov/talos-sriov/pkg/install/outcome"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// cniTask keeps the CNI plugin installed. It runs beside the loop, because it
// writes megabytes to a disk that may be slow.
type cniTask struct {
	inst  *install.Installer
	ready func() bool // the state directory is in use
	done  func()      // called when there is a new report
	log   *slog.Logger
	again chan struct{} // cap 1

	mu     sync.Mutex
	want   spec.CNI
	report *status.CNI
}

func newCNITask(o install.Options, ready func() bool, done func(), log *slog.Logger) *cniTask {
	return &cniTask{inst: install.New(o), ready: ready, done: done, log: log, again: make(chan struct{}, 1)}
}

// set notes what the config in force asks for, and makes the task reconcile. A node
// without a config is left as it is: pods may still need the plugin to end.
func (t *cniTask) set(cfg *spec.Config) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if cfg == nil {
		t.want, t.report = spec.CNI{}, nil
		return
	}
	t.want = cfg.CNI
	if t.want.Install == "" {
		t.want.Install = spec.CNIInstallOn
	}
	select {
	case t.again <- struct{}{}:
	default:
	}
}

// status is the newest report, nil while there is none.
func (t *cniTask) status() *status.CNI {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.report
}

// inCharge reports whether the plugin that the container runtime calls is ours.
// Without a task that is not asked.
func (t *cniTask) inCharge() bool {
	if t == nil {
		return true
	}
	s := t.status()
	return s != nil && s.Owner == outcome.Extension
}

func (t *cniTask) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.again:
		}
		t.mu.Lock()
		want := t.want
		t.mu.Unlock()
		if want.Install == "" {
			continue
		}
		if next, changed := t.inst.Reconcile(ctx, want, t.ready()); ctx.Err() == nil {
			t.accept(want, next, changed)
		}
	}
}

// accept notes what a pass came to, unless the config changed meanwhile.
func (t *cniTask) accept(want spec.CNI, next status.CNI, changed string) {
	next.Install = string(want.Install)
	t.mu.Lock()
	old, current := t.report, t.want == want
	if current {
		t.report = &next
	}
	t.mu.Unlock()
	if changed != "" {
		t.log.Info("CNI plugin changed", "change", changed, "path", next.Path)
	}
	if !current || old != nil && *old == next {
		return
	}
	log := t.log.With("state", next.State, "owner", next.Owner, "path", next.Path, "version", next.Version)
	switch next.State {
	case outcome.Failed:
		log.Error("CNI plugin", "reason", next.Reason, "hint", next.Hint)
	case outcome.Foreign, outcome.Newer:
		log.Warn("CNI plugin", "reason", next.Reason, "hint", next.Hint)
	default:
		log.Info("CNI plugin", "reason", next.Reason)
	}
	t.done()
}
