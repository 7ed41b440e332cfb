// Command lab builds and runs the lab by hand.
//
//	lab build [-talos VERSION]   make all artifacts
//	lab up [flags]               start a node and keep it until interrupted; with
//	                             -talos VERSION it runs Talos
//	lab exec SCRIPT              run a shell script in the node that is up
//	lab kubectl ARGS...          talk to the cluster that is up
//	lab demo                     go a user's way on Talos, from the card to two pods
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
	"github.com/talos-sriov/talos-sriov/test/lab/talos"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

const usage = "usage: lab build [-talos VERSION] | up [flags] | exec SCRIPT | kubectl ARGS... | demo"

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

// build makes the artifacts of an imitated node, or those of one that runs Talos.
func build(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("build", flag.ContinueOnError)
	version := fs.String("talos", "none", "for this version of Talos; empty means the newest")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *version != "none" {
		return talos.Build(ctx, talos.Options{Version: *version})
	}
	return lab.Build(ctx)
}

// nodeFlags are the flags that describe a node.
func nodeFlags(fs *flag.FlagSet) func(context.Context) (lab.Options, error) {
	var o lab.Options
	var modules, noAutoload string
	var stub bool
	document := fs.String("document", "", "file with the ExtensionServiceConfig document")
	fs.IntVar(&o.PFs, "pfs", 2, "number of network cards, up to 12")
	fs.StringVar(&o.Extension, "extension", "", "directory with the extension's root filesystem")
	fs.BoolVar(&stub, "stub", false, "run the lab's own stub extension")
	fs.BoolVar(&o.FreshBoot, "fresh", false, "boot, do not restore a saved node")
	fs.StringVar(&modules, "modules", "", "kernel modules to load at boot, with commas")
	fs.StringVar(&noAutoload, "no-autoload", "", "kernel modules that udev leaves alone, with commas")
	return func(ctx context.Context) (lab.Options, error) {
		split := func(s string) []string {
			return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
		}
		o.Modules, o.NoAutoload = split(modules), split(noAutoload)
		if stub {
			var err error
			if o.Extension, err = lab.StubExtension(ctx); err != nil {
				return o, err
			}
		}
		if *document != "" {
			b, err := os.ReadFile(*document)
			if err != nil {
				return o, fmt.Errorf("read ExtensionServiceConfig: %w", err)
			}
			o.Document = string(b)
		}
		return o, nil
	}
}

func up(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("up", flag.ContinueOnError)
	options := nodeFlags(fs)
	version := fs.String("talos", "", "run this version of Talos")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *version != "" {
		n, err := talos.Start(ctx, talos.Options{Version: *version})
		if err != nil {
			return err
		}
		defer n.Close()
		fmt.Printf("%s is up, with Talos %s; its console is in %s\n", n.Name(), *version, n.Dir())
		fmt.Printf("in another terminal: export PATH=%[1]s/bin:$PATH TALOSCONFIG=%[1]s/talosconfig KUBECONFIG=%[1]s/control-plane/kubeconfig; sriovctl discover; interrupt to end\n", n.Dir())
		<-ctx.Done()
		return nil
	}
	o, err := options(ctx)
	if err != nil {
		return err
	}
	n, err := lab.Start(ctx, o)
	if err != nil {
		return err
	}
	defer n.Close()
	fmt.Printf("%s is up; its console and logs are in %s\n", n.Name(), n.Dir())
	fmt.Println("in another terminal: go run ./cmd/lab exec 'ip -br link'; go run ./cmd/lab kubectl get nodes; interrupt to end")
	<-ctx.Done()
	return nil
}

// runDemo goes a user's way on a node that runs Talos.
func runDemo(ctx context.Context) error {
	n, err := talos.Start(ctx, talos.Options{})
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
