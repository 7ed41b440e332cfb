// Command labinit is PID 1 of the lab's node, see package guest.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/guest"
)

func main() {
	if mine, err := guest.Kubelet(os.Args); mine {
		fmt.Fprintln(os.Stderr, "labinit: the kubelet's container:", err)
		os.Exit(1)
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "labinit: runs as PID 1 of the lab's node only")
		os.Exit(1)
	}
	err := guest.Main()
	fmt.Fprintln(os.Stderr, "labinit: FATAL:", err)
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}
