// Command lab builds and runs the lab by hand.
//
//	lab build [flags]     make all artifacts
//	lab up [flags]        start a node and keep it until interrupted
//	lab exec SCRIPT       run a shell script on the node that is up
//	lab kubectl ARGS...   talk to the cluster that is up
//	lab demo              go a user's way, from the card to two pods
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
	"github.com/talos-sriov/talos-sriov/test/lab/demo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

const usage = "usage: lab build [flags] | up [flags] | exec SCRIPT | kubectl ARGS... | demo"

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	switch verb, args := args[0], args[1:]; verb {
	case "build":
		return build(ctx, args)
	case "up":
		return up(ctx, args)
	case "exec":
		a, err := lab.Running()
		if err != nil {
			return err
		}
		out, err := a.Exec(ctx, strings.Join(args, " "))
		fmt.Print(out)
		return err
	case "kubectl":
		a, err := lab.Running()
		if err != nil {
			return err
		}
		cmd := a.Kubectl(ctx, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		return cmd.Run()
	case "demo":
		return runDemo(ctx)
	}
	return errors.New(usage)
}

// build makes everything that the tests need.
func build(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("build", flag.ContinueOnError)
	o := options(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	return lab.Build(ctx, *o)
}

// options are those of a node that have flags in every verb that makes one.
func options(fs *flag.FlagSet) *lab.Options {
	var o lab.Options
	fs.StringVar(&o.Version, "talos", "", "the version of Talos; empty means what LAB_TALOS says, or else the newest")
	fs.StringVar((*string)(&o.Arch), "arch", "", "the architecture, amd64 or arm64; empty means amd64")
	return &o
}

func up(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("up", flag.ContinueOnError)
	o := options(fs)
	fs.IntVar(&o.PFs, "pfs", 2, "number of network cards, up to 12")
	fs.BoolVar(&o.FreshBoot, "fresh", false, "boot, do not restore a saved node")
	document := fs.String("document", "", "file with a patch of the machine config that the node boots with")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *document != "" {
		b, err := os.ReadFile(*document)
		if err != nil {
			return fmt.Errorf("read the patch: %w", err)
		}
		o.Document = string(b)
	}
	n, err := lab.Start(ctx, *o)
	if err != nil {
		return err
	}
	defer n.Close()
	fmt.Printf("%s is up; its console is in %s\n", n.Name(), n.Dir())
	fmt.Printf("in another terminal: export PATH=%[1]s/bin:$PATH TALOSCONFIG=%[1]s/talosconfig KUBECONFIG=%[1]s/control-plane/kubeconfig; sriovctl discover\n", n.Dir())
	fmt.Println("or, from test/lab: go run ./cmd/lab exec 'ip link'; interrupt to end")
	<-ctx.Done()
	return nil
}

// runDemo goes a user's way.
func runDemo(ctx context.Context) error {
	n, err := lab.Start(ctx, lab.Options{})
	if err != nil {
		return err
	}
	defer n.Close()
	if err := demo.Run(ctx, n, os.Stdout); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%w\nlogs: %s", err, n.Diagnose(ctx, "demo"))
	}
	return nil
}
