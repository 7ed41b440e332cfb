package cni

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
)

// OpenLog gives the logger that the configuration asks for: logFile instead of
// stderr, logLevel from info up. A log that can not be had as asked is no
// reason to deny a pod its network. done closes the file.
func OpenLog(stderr io.Writer, args *skel.CmdArgs) (log *slog.Logger, done func() error) {
	done = func() error { return nil }
	conf, err := decodeConf(args.StdinData)
	if err != nil {
		conf = &NetConf{} // the command will say so
	}
	level, known := logLevel(conf.LogLevel)
	out := stderr
	var openErr error
	if conf.LogFile != "" {
		var f *os.File
		if f, openErr = os.OpenFile(conf.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); openErr == nil {
			out, done = f, f.Close
		}
	}
	log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level})).With(
		"cniName", "sriov-cni", "containerID", args.ContainerID, "netns", args.Netns, "ifname", args.IfName)
	if !known {
		log.Warn("unknown logLevel, info is used", "logLevel", conf.LogLevel)
	}
	if openErr != nil {
		log.Warn("logFile not opened, stderr is used", "err", fmt.Errorf("open %s: %w", conf.LogFile, openErr))
	}
	return log, done
}

func logLevel(name string) (level slog.Level, known bool) {
	switch strings.ToLower(name) {
	case "", "info":
		return slog.LevelInfo, true
	case "debug", "verbose":
		return slog.LevelDebug, true
	case "warning":
		return slog.LevelWarn, true
	case "error", "panic":
		return slog.LevelError, true
	}
	return slog.LevelInfo, false
}
