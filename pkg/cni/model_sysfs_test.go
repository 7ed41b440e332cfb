package cni

import (
	"fmt"
	"io/fs"
	"strings"
)

// model is a sysfs.Tree of the host.
func (m *model) ReadFile(name string) ([]byte, error) {
	if name == "bus/pci/devices/0000:21:00.0/sriov_totalvfs" {
		return []byte("8\n"), nil
	}
	return nil, fs.ErrNotExist
}

func (m *model) ReadLink(name string) (string, error) {
	for i := range len(m.vfs) {
		dir := "bus/pci/devices/" + vfAddr(i) + "/"
		switch {
		case name == dir+"physfn":
			return "devices/pci0000:20/0000:21:00.0", nil
		case name == dir+"driver" && m.driver[i] != "":
			return "bus/pci/drivers/" + m.driver[i], nil
		case name == fmt.Sprintf("bus/pci/devices/0000:21:00.0/virtfn%d", i):
			return "devices/pci0000:20/" + vfAddr(i), nil
		}
	}
	return "", fs.ErrNotExist
}

func (m *model) ReadDir(name string) (out []string, _ error) {
	rest, ok := strings.CutPrefix(name, "bus/pci/devices/")
	if !ok {
		return nil, nil
	}
	addr, sub, _ := strings.Cut(rest, "/")
	switch sub {
	case "":
		if addr == "0000:21:00.0" {
			for i := range len(m.vfs) {
				out = append(out, fmt.Sprintf("virtfn%d", i))
			}
			return out, nil
		}
		if addr == "0000:00:1f.0" {
			return []string{"vendor"}, nil
		}
		return nil, fs.ErrNotExist
	case "net":
		for _, l := range m.links {
			if l.ParentDev == addr && l.ns == "" {
				out = append(out, l.Name)
			}
		}
	case "infiniband":
		for d, ns := range m.rdma {
			if ns == "" && d == "mlx5_"+addr[len(addr)-1:] && addr != "0000:21:00.0" {
				out = append(out, d)
			}
		}
	}
	if out == nil {
		return nil, fs.ErrNotExist
	}
	return out, nil
}
