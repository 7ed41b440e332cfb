package source

import (
	"log/slog"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/internal/dirwatch"
)

// notifier is the kernel's watch on every directory above a path. That there is
// none is no reason to end, only one to read from time to time.
type notifier struct {
	*dirwatch.Watcher

	log    *slog.Logger
	poll   time.Duration
	broken error // why something is not watched; nil: all of it is
}

// follow watches what there is to watch now, and logs when that begins to fail
// and when it succeeds again.
func (n *notifier) follow() {
	err := n.Follow(false)
	switch {
	case err != nil && n.broken == nil:
		n.log.Warn("config cannot be watched; it is read from time to time", "every", n.poll, "err", err,
			"hint", "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches in machine.sysctls")
	case err == nil && n.broken != nil:
		n.log.Info("config is watched again")
	}
	n.broken = err
}

// watching reports whether every change will be seen.
func (n *notifier) watching() bool { return n.broken == nil }
