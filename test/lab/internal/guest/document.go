package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/extsvc"
)

// How a document is set: with all that Talos does, or the file only, to test a
// service that watches it.
const (
	modeTalos = "talos"
	modeFile  = "file"
)

func (n *Node) extension(name string) *extension {
	for _, x := range n.extensions {
		if x.spec.Name == name {
			return x
		}
	}
	return nil
}

// setDocument writes the files of a document and then treats the service as Talos
// does. A document for a service that does not exist is accepted.
func (n *Node) setDocument(d extsvc.Document, mode string) error {
	if err := writeFiles(d); err != nil {
		return err
	}
	n.ev.add("document", "%s delivered, mode %s", d.Name, mode)
	x := n.extension(d.Name)
	if x == nil {
		return nil
	}
	running := x.running()
	x.mu.Lock()
	next, reaction := x.delivery.Set(d, running)
	x.delivery = next
	x.mu.Unlock()
	n.react(x, reaction, mode)
	return nil
}

func (n *Node) removeDocument(name, mode string) error {
	if err := os.RemoveAll(filepath.Join(extsvc.ConfigDir, name)); err != nil {
		return err
	}
	n.ev.add("document", "%s removed, mode %s", name, mode)
	x := n.extension(name)
	if x == nil {
		return nil
	}
	x.mu.Lock()
	next, reaction := x.delivery.Remove(x.spec)
	x.delivery = next
	x.mu.Unlock()
	n.react(x, reaction, mode)
	return nil
}

func (n *Node) react(x *extension, r extsvc.Reaction, mode string) {
	if mode != modeTalos || r == extsvc.Nothing {
		return
	}
	n.ev.add("extension-reaction", "%s: %s", x.spec.Name, r)
	// A service that waits for its document is waiting still, or again: its
	// conditions hold it, so that stopping is restarting.
	x.stopService()
	x.startService()
}

// writeFiles writes in place, as Talos does: same inode, not atomic. What a
// document no longer has is removed.
func writeFiles(d extsvc.Document) error {
	dir := filepath.Join(extsvc.ConfigDir, d.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, f := range d.ConfigFiles {
		p := f.Path(d.Name)
		keep[p] = true
		if err := os.WriteFile(p, []byte(f.Content), 0o644); err != nil {
			return err
		}
	}
	have, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range have {
		if p := filepath.Join(dir, e.Name()); !keep[p] {
			if err := os.Remove(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// changeDocument keeps a document over a reboot and then puts it into effect.
func (n *Node) changeDocument(name, yaml, mode string) error {
	if mode != modeTalos && mode != modeFile {
		return fmt.Errorf("document mode %q: want %q or %q", mode, modeTalos, modeFile)
	}
	kept := filepath.Join(stateDir, "documents", name+".yaml")
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return err
	}
	if yaml == "" {
		if err := os.Remove(kept); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return n.removeDocument(name, mode)
	}
	docs, err := extsvc.ParseDocuments([]byte(yaml))
	if err != nil {
		return err
	}
	if len(docs) != 1 {
		return fmt.Errorf("want one ExtensionServiceConfig document, have %d", len(docs))
	}
	if docs[0].Name != name {
		return fmt.Errorf("ExtensionServiceConfig is for %q, not for %q", docs[0].Name, name)
	}
	if err := writeDurably(kept, []byte(yaml)); err != nil {
		return err
	}
	return n.setDocument(docs[0], mode)
}

// writeDurably replaces a file so that it is whole after a power cut: the old
// text or the new one. What the lab cuts the power for is the extension's files,
// not the machine configuration.
func writeDurably(path string, b []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
