// Command extensions puts system extensions into the initramfs of a Talos image,
// with the code and the validation of Talos' own imager:
//
//	extensions VERSION ARCH INITRAMFS DIR
//
// DIR has one directory for each extension, with manifest.yaml and rootfs.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/siderolabs/talos/pkg/imager/extensions"
	"github.com/siderolabs/talos/pkg/machinery/imager/quirks"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "extensions:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("usage: extensions VERSION ARCH INITRAMFS DIR")
	}
	b := extensions.Builder{
		InitramfsPath:             args[2],
		Arch:                      args[1],
		ExtensionTreePath:         args[3],
		ExtensionValidateContents: true,
		Printf:                    log.Printf,
		Quirks:                    quirks.New(args[0]),
	}
	return b.Build(context.Background())
}
