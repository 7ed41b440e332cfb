// Command sriov-cni is the CNI plugin for "type: sriov". See pkg/cni.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	specs "github.com/containernetworking/cni/pkg/version"

	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/cni/delegate"
	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	funcs := cni.Funcs(context.Background(), cni.OpenHost(delegate.IPAM{}, os.Stderr), os.Stdout)
	e := skel.PluginMainFuncsWithError(funcs, specs.All, "CNI plugin sriov "+version)
	if e == nil {
		return 0
	}
	if err := fault.WithHint(e).Print(); err != nil {
		fmt.Fprintln(os.Stderr, "sriov-cni: write error:", err)
	}
	return 1
}
