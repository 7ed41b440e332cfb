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
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
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
  plan       print what run would do here, and change nothing
  discover   list what this machine has: -o table|json|yaml, -v for each VF
  validate   check documents, or machine-config patches that carry one
  reference  print a document that explains every key
  version    print the version

sriovd COMMAND -h lists the flags of a command.
`

// app is the surroundings of one invocation.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	takeover       time.Duration // see takeover
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// The daemon's working set is a few megabytes; let the collector keep it so.
	debug.SetGCPercent(50)

	// Names of interfaces and texts of files may hold what a terminal acts on.
	stderr = printable.NewWriter(stderr)
	a := &app{stdin: stdin, stdout: printable.NewWriter(stdout), stderr: stderr, takeover: takeover}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	commands := map[string]func(context.Context, []string) error{
		"run": a.run, "plan": a.plan, "discover": a.discover, "validate": a.validate,
		"reference": a.reference, "version": a.version,
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
	var use usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &use):
		if use.err != nil { // the flag package has printed its own
			fmt.Fprintf(stderr, "sriovd %s: %v\n", args[0], use.err)
		}
		return exitUsage
	case errors.Is(err, errReported):
		return exitError
	}
	fmt.Fprintf(stderr, "sriovd %s: %v\n", args[0], err)
	return exitError
}

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return fmt.Sprint(e.err) }

// errReported is a failure that the command has described already.
var errReported = errors.New("reported")

// parse parses flags; what is left over are the arguments.
func (a *app) parse(fs *flag.FlagSet, args []string) ([]string, error) {
	fs.SetOutput(a.stderr)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, usageError{}
	}
	return fs.Args(), nil
}

func (a *app) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
}

func (a *app) version(context.Context, []string) error {
	_, err := fmt.Fprintln(a.stdout, version)
	return err
}
