package cni

import (
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/talos-sriov/talos-sriov/pkg/cni/netconf"
)

// DefaultLogDir is the only directory in which logFile makes or appends to a file.
const DefaultLogDir = "/var/log"

// OpenLog gives the logger that the configuration asks for: logFile instead of
// stderr, logLevel from info up. Whoever may write a NetworkAttachmentDefinition
// chooses logFile, and the plugin is root on the node, so only a file below logDir
// counts, see [openLogFile]. A log that is not available as asked is no reason to
// deny a pod its network: stderr has the reason. done closes the file.
func OpenLog(stderr io.Writer, logDir string, args *skel.CmdArgs) (log *slog.Logger, done func() error) {
	done = func() error { return nil }
	conf, err := netconf.Decode(args.StdinData)
	if err != nil {
		conf = &netconf.NetConf{} // the command itself will fail
	}
	level, known := logLevels[strings.ToLower(conf.LogLevel)]
	out := stderr
	var openErr error
	if conf.LogFile != "" {
		var f *os.File
		if f, openErr = openLogFile(logDir, conf.LogFile); openErr == nil {
			out, done = f, f.Close
		}
	}
	log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level})).With(
		"cniName", "sriov-cni", "containerID", args.ContainerID, "netns", args.Netns, "ifname", args.IfName) //nolint:sloglint // containerID is how the CNI specification spells it
	if !known {
		log.Warn("unknown logLevel, info is used", "logLevel", conf.LogLevel)
	}
	if openErr != nil {
		log.Warn("logFile not opened, stderr is used", "logFile", conf.LogFile, "err", openErr)
	}
	return log, done
}

// logLevels are sriov-cni's; the level of any other word is info as well.
var logLevels = map[string]slog.Level{
	"": slog.LevelInfo, "info": slog.LevelInfo,
	"debug": slog.LevelDebug, "verbose": slog.LevelDebug,
	"warning": slog.LevelWarn,
	"error":   slog.LevelError, "panic": slog.LevelError,
}
