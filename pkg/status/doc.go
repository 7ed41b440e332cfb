// Package status is the API between the node and the workstation: the types of
// what the daemon reports of itself, the file that carries them, and their text
// for people.
//
// The daemon writes the file atomically and only when something changed; sriovctl
// reads it through the Talos API, and prints plans in the same types. The types are
// this package's own, or those of the small packages below, which do not decide: the
// code that does can change without the file. [Encode] and [Decode] are its only
// writer and reader. The rules of the file:
//
//   - A key keeps its name and its meaning for as long as apiVersion does, and the
//     name of a Go field may be the better one ([Step].Object is `path`).
//   - A reader ignores keys that it does not know, and keeps values that it does
//     not know: an operation, a cause, a state of a newer daemon is shown as it is,
//     with the text that came along. What is not known to be free is not free.
//   - What older readers decide by is written for them as well (`holder` of a
//     device), and derived here, not carried by the types.
//
// The package imports of the project only pkg/spec, for the places in the config,
// pkg/install/outcome, for how the installation of the CNI plugin can be, pkg/plan/terms
// and pkg/use/holder, for the words of plans and holders. It decides nothing: which
// values are reported is pkg/report's.
package status
