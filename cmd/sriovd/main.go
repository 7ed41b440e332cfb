package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
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
	stderr   io.Writer
	takeover time.Duration // see takeover
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	// The daemon's working set is a few megabytes; let the collector keep it so.
	debug.SetGCPercent(50)

	// The log may name what a terminal acts on.
	stderr = printable.NewWriter(stderr)
	a := &app{stderr: stderr, takeover: takeover}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return exitOK
	case "version":
		fmt.Fprintln(stdout, version)
		return exitOK
	case "run": // below
	default:
		fmt.Fprintf(stderr, "sriovd: no command %q\n\n%s", args[0], usage)
		return exitUsage
	}
	switch err := a.run(ctx, args[1:]); {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	default:
		fmt.Fprintf(stderr, "sriovd run: %v\n", err)
		return exitError
	}
}

// errUsage is a mistake in the flags, which the flag package has described already.
var errUsage = errors.New("wrong flags")
