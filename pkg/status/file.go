package status

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/renameio/v2"
	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// KindError is about a file that is another one than a status, or one of an
// apiVersion that is not known.
type KindError struct{ APIVersion, Kind string }

func (e *KindError) Error() string {
	return fmt.Sprintf("it is a %q of apiVersion %q, not a %s of %s", e.Kind, e.APIVersion, Kind, APIVersion)
}

// Encode returns the file.
func Encode(s *Status) ([]byte, error) {
	out, err := spec.YAML(s)
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	return out, nil
}

// Decode reads the file of any daemon that writes this apiVersion. The error is a
// [*KindError] for a file of another kind or version.
func Decode(data []byte) (*Status, error) {
	var head struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
	}
	if err := yaml.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("decode status: %w", err)
	}
	if head.Kind != Kind || head.APIVersion != APIVersion {
		return nil, &KindError{APIVersion: head.APIVersion, Kind: head.Kind}
	}
	var s Status
	if err := yaml.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("decode status: %w", err)
	}
	return &s, nil
}

// Write replaces the file at path. The old content stays readable until the new
// one is whole.
func Write(path string, s *Status) error {
	data, err := Encode(s)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("write status %s: %w", path, err)
	}
	return nil
}

// Sum identifies the content of a status, whenever it is written.
type Sum [sha256.Size]byte

// SumOf returns the sum of the content without the time of its writing. It is taken
// of the JSON: each reconcile asks for it, and YAML takes ten times as long.
func SumOf(s *Status) (Sum, error) {
	c := *s
	c.Updated = time.Time{}
	data, err := json.Marshal(&c)
	if err != nil {
		return Sum{}, fmt.Errorf("sum of the status: %w", err)
	}
	return sha256.Sum256(data), nil
}
