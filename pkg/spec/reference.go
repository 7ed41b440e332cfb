package spec

import _ "embed"

//go:embed testdata/reference.yaml
var reference []byte

// Reference returns the config that shows and explains every key.
func Reference() []byte { return append([]byte(nil), reference...) }
