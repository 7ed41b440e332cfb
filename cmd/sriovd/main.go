package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/printable"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

const usage = `sriovd makes SR-IOV Virtual Functions from a document and offers them to pods.

Usage: sriovd COMMAND [flags]

  run        make it so, and keep it so (what the Talos extension starts)
  version    print the version

sriovd COMMAND -h lists the flags of a command. What people ask of a node, and of a
document before it is applied, is sriovctl's.
`

// app is the surroundings of one invocation.
type app struct {
	stdout, stderr io.Writer
	takeover       time.Duration // see takeover
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	// The daemon's working set is a few megabytes; let the collector keep it so.
	debug.SetGCPercent(50)

	// Names of interfaces and texts of files may hold what a terminal acts on.
	stderr = printable.NewWriter(stderr)
	a := &app{stdout: printable.NewWriter(stdout), stderr: stderr, takeover: takeover}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	commands := map[string]func(context.Context, []string) error{
		"run": a.run, "version": a.version,
	}
	switch args[0] {
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return exitOK
	}
	command, ok := commands[args[0]]
	if !ok {
		fmt.Fprintf(stderr, "sriovd: no command %q\n\n%s", args[0], usage)
		return exitUsage
	}
	err := command(ctx, args[1:])
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	}
	fmt.Fprintf(stderr, "sriovd %s: %v\n", args[0], err)
	return exitError
}

// errUsage is a mistake in the flags, which the flag package has described already.
var errUsage = errors.New("wrong flags")

// parse parses flags.
func (a *app) parse(fs *flag.FlagSet, args []string) error {
	fs.SetOutput(a.stderr)
	err := fs.Parse(args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return errUsage
}

func (a *app) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
}

func (a *app) version(context.Context, []string) error {
	_, err := fmt.Fprintln(a.stdout, version)
	return err
}
