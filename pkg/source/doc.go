// Package source delivers the config: it watches the place where the platform
// puts it and yields its content each time it really changed.
//
// On Talos the file is rewritten in place (a reader can see it empty for a
// moment), its directory is removed and created again, and neither need exist
// when the daemon starts. So the package watches directories, never the file,
// waits until a change has settled, and takes "gone" or "empty" seriously only
// after they lasted.
//
// What is there and does not say one thing (several documents, a file that cannot
// be read) is delivered as an error, never as absent. Where the kernel has no
// watch left, the config is read from time to time.
//
// It imports pkg/internal/dirwatch, nothing else of the project, and it never
// interprets the content.
package source
