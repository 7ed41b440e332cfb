package extsvc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Document is an ExtensionServiceConfig document.
type Document struct {
	APIVersion  string       `yaml:"apiVersion"`
	Kind        string       `yaml:"kind"`
	Name        string       `yaml:"name"`
	ConfigFiles []ConfigFile `yaml:"configFiles"`
	Environment []string     `yaml:"environment"`
}

// ConfigFile is one file of a Document.
type ConfigFile struct {
	Content   string `yaml:"content"`
	MountPath string `yaml:"mountPath"`
}

// ParseDocuments returns the ExtensionServiceConfig documents of a machine
// configuration or patch; documents of other kinds are passed over.
func ParseDocuments(b []byte) ([]Document, error) {
	var docs []Document
	dec := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("decode machine configuration: %w", err)
		}
		var head struct {
			Kind string `yaml:"kind"`
		}
		if err := n.Decode(&head); err != nil || head.Kind != "ExtensionServiceConfig" {
			continue
		}
		var d Document
		if err := n.Decode(&d); err != nil {
			return nil, fmt.Errorf("decode ExtensionServiceConfig: %w", err)
		}
		if err := d.validate(); err != nil {
			return nil, fmt.Errorf("ExtensionServiceConfig %q: %w", d.Name, err)
		}
		docs = append(docs, d)
	}
}

func (d Document) validate() error {
	var errs []error
	if d.Name == "" {
		errs = append(errs, errors.New("name is required"))
	}
	for i, f := range d.ConfigFiles {
		if f.Content == "" {
			errs = append(errs, fmt.Errorf("configFiles[%d].content is required", i))
		}
		if f.MountPath == "" {
			errs = append(errs, fmt.Errorf("configFiles[%d].mountPath is required", i))
		}
	}
	return errors.Join(errs...)
}

// Path is where Talos writes the file on the host.
func (f ConfigFile) Path(service string) string {
	flat := strings.ReplaceAll(strings.TrimPrefix(f.MountPath, "/"), "/", "-")
	return filepath.Join(ConfigDir, service, flat)
}

// Equal reports whether two documents are equal.
func (d Document) Equal(o Document) bool {
	return d.Name == o.Name && slices.Equal(d.ConfigFiles, o.ConfigFiles) && slices.Equal(d.Environment, o.Environment)
}

// Reaction is what Talos does to the service when its document changes.
type Reaction string

// The reactions.
const (
	Nothing Reaction = "nothing" // the service is left as it is
	Restart Reaction = "restart" // stopped if it runs, then started with a new container spec
	Stop    Reaction = "stop"    // stopped, waits for a document
)

// Delivery is the state that Talos keeps for one service's document.
type Delivery struct {
	Document *Document
	Version  int // 0 without a document, then 1, 2, ...
}

// Set gives the state after a document was set, and the reaction. A document
// that appears is version 1, and for version 1 a running service is left alone:
// Talos takes it to have been started with it. An identical document changes
// nothing unless it has an environment, whose list grows at every apply.
func (d Delivery) Set(doc Document, running bool) (Delivery, Reaction) {
	next := Delivery{Document: &doc, Version: d.Version + 1}
	switch {
	case d.Document == nil && running:
		return next, Nothing
	case d.Document == nil:
		return next, Restart
	case d.Document.Equal(doc) && len(doc.Environment) == 0:
		return d, Nothing
	}
	return next, Restart
}

// Remove gives the state after a document was removed, and the reaction.
func (d Delivery) Remove(spec Spec) (Delivery, Reaction) {
	switch {
	case d.Document == nil:
		return d, Nothing
	case spec.WaitsForConfiguration():
		return Delivery{}, Stop
	}
	return Delivery{}, Restart
}
