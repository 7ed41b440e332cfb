package cni

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// HostKernel is this machine.
func HostKernel() Kernel { return linuxKernel{} }

type linuxKernel struct{}

func (linuxKernel) Host() NS { return linuxNS{nl.Open()} }

func (linuxKernel) Open(path string) (NS, error) {
	h, err := nl.OpenAt(path)
	if err != nil {
		return nil, err
	}
	return linuxNS{h}, nil
}

// linuxNS adds to the netlink handle what is no netlink.
type linuxNS struct{ *nl.Handle }

func (n linuxNS) MoveLink(ctx context.Context, ref nl.LinkRef, to NS, name string) error {
	return n.Handle.MoveLink(ctx, ref, to.(linuxNS).Handle, name)
}

func (n linuxNS) MoveRDMA(ctx context.Context, dev nl.RDMADev, to NS) error {
	return n.Handle.MoveRDMA(ctx, dev, to.(linuxNS).Handle)
}

// SetSysctl writes from within the namespace: /proc/sys/net shows that of the
// thread which opens it.
func (n linuxNS) SetSysctl(ctx context.Context, name, value string) error {
	return n.inside(ctx, func() error {
		f, err := os.OpenFile(filepath.Join("/proc/sys/net", name), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(value)
		return errors.Join(err, f.Close())
	})
}

func (n linuxNS) Send(ctx context.Context, index int, frame []byte) error {
	return n.inside(ctx, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		defer unix.Close(fd)
		addr := &unix.SockaddrLinklayer{
			Ifindex:  index,
			Protocol: binary.NativeEndian.Uint16(frame[12:14]), // as on the wire
			Halen:    6,
		}
		copy(addr.Addr[:], frame[:6])
		if err := unix.Sendto(fd, frame, 0, addr); err != nil {
			return fmt.Errorf("send frame on interface %d: %w", index, err)
		}
		return nil
	})
}

// inside runs f on a thread of its own in the namespace. The thread ends with
// it, so that no other goroutine ever runs there.
func (n linuxNS) inside(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	fd := n.FD()
	if fd < 0 {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		err := unix.Setns(fd, unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}
