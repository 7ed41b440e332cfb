// Command snapshot prints, as JSON, what pkg/inventory reads of the machine that it runs
// on, the VFs' attributes among it. The lab's tests put it on their nodes: the kernel is
// asked there by the code that asks it in the daemon, and by no command of the daemon's.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "snapshot:", err)
		os.Exit(1)
	}
}

func run() error {
	sys, err := sysfs.Open("/sys")
	if err != nil {
		return err
	}
	defer sys.Close()
	snap, err := inventory.Read(context.Background(), sys, nl.Open())
	if err != nil {
		return err
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(snap)
}
