// Package spec is the user's config: its types, how it is read, and
// everything about it that can be judged without looking at a machine.
//
// Reading is strict. The YAML is walked node by node against the types, so that
// every unknown key, wrong type, contradiction and value out of range is
// reported with its line and column, all of them at once ([Errors]). Anchors,
// aliases, merge keys and tags are refused, which also means that no input can
// expand to more than it is. The work is bounded by the size of the input, at
// most 1 MiB: no rule compares everything with everything, and what would have to
// be is refused. The result depends on the bytes alone.
//
// [Load] reads the bare config, as the node sees it. [LoadFile] also accepts a
// machine-config patch that carries the config ([Extract]), and reports
// positions of that outer file. [LoadResourceList] reads a whole configuration
// of the SR-IOV network device plugin.
//
// It imports the standard library, gopkg.in/yaml.v3, pkg/pci and pkg/vfrules. It
// never reads a file, never looks at a machine and never writes anything.
package spec
