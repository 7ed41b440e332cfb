// Command lab builds and runs the lab by hand.
//
//	lab build                    make all artifacts
//	lab up [flags]               start a node and keep it until interrupted
//	lab exec SCRIPT              run a shell script in the node that is up
//	lab kubectl ARGS...          talk to the cluster that is up
//	lab demo [flags]             boot, apply two pods, print what came of it
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

const usage = "usage: lab build | up [flags] | exec SCRIPT | kubectl ARGS... | demo [flags]"

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	switch verb, args := args[0], args[1:]; verb {
	case "build":
		return lab.Build(ctx)
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
		return demo(ctx, args)
	}
	return errors.New(usage)
}

// nodeFlags are the flags that describe a node.
func nodeFlags(fs *flag.FlagSet) (func(context.Context) (lab.Options, error), *string) {
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
	}, document
}

func up(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("up", flag.ContinueOnError)
	options, _ := nodeFlags(fs)
	if err := fs.Parse(args); err != nil {
		return err
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

// demo boots a node with a document, gives it two pods with a network of VFs,
// and prints what came of it.
func demo(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	options, document := nodeFlags(fs)
	pod := fs.String("pods", "", "file with a network and the pods demo and peer")
	resource := fs.String("resource", "nvidia.com/cx7_qsfp", "the resource to wait for")
	count := fs.Int("count", 4, "how many of it must be allocatable")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *document == "" || *pod == "" {
		return errors.New("demo needs -document and -pods")
	}
	o, err := options(ctx)
	if err != nil {
		return err
	}
	podYAML, err := os.ReadFile(*pod)
	if err != nil {
		return fmt.Errorf("read the pods: %w", err)
	}
	o.FreshBoot = true
	n, err := lab.Start(ctx, o)
	if err != nil {
		return err
	}
	defer n.Close()
	if err := runDemo(ctx, n, string(podYAML), *resource, *count); err != nil {
		return fmt.Errorf("%w\nlogs: %s", err, n.Diagnose(context.WithoutCancel(ctx), "demo"))
	}
	return nil
}

func runDemo(ctx context.Context, n *lab.Node, podYAML, resource string, count int) error {
	if err := n.WaitAllocatable(ctx, resource, count); err != nil {
		return err
	}
	column := strings.ReplaceAll(resource, ".", `\.`)
	title := strings.ToUpper(filepath.Base(resource))
	if _, t, ok := strings.Cut(title, "_"); ok {
		title = t
	}
	out, err := n.Kubectl(ctx, "get", "nodes", "-o", "custom-columns=NAME:.metadata.name,"+title+":.status.allocatable."+column)
	if err != nil {
		return err
	}
	fmt.Print(out)
	if err := n.InstallCNI(ctx); err != nil {
		return err
	}
	if err := n.Apply(ctx, podYAML); err != nil {
		return err
	}
	var peer string
	for _, name := range []string{"demo", "peer"} {
		p, err := n.WaitPod(ctx, name, "running", func(p lab.Pod) bool { return p.Ready() })
		if err != nil {
			return err
		}
		if peer, err = p.Address("net1"); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"get", "pods"}, {"logs", "demo"}, {"exec", "demo", "--", "ping", "-c", "3", "-I", "net1", peer}} {
		if out, err = n.Kubectl(ctx, args...); err != nil {
			return err
		}
		fmt.Print(out)
	}
	return nil
}
