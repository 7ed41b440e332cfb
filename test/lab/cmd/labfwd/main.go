// Command labfwd joins its standard input and output to a TCP address. QEMU
// starts one for each connection that the guest makes to the API server.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: labfwd HOST:PORT")
		os.Exit(2)
	}
	c, err := net.Dial("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "labfwd:", err)
		os.Exit(1)
	}
	tcp := c.(*net.TCPConn)
	go func() {
		_, _ = io.Copy(tcp, os.Stdin)
		_ = tcp.CloseWrite()
	}()
	_, _ = io.Copy(os.Stdout, tcp)
}
