// Package source delivers the document: it watches the place where the platform
// puts it and yields its content each time it really changed.
//
// On Talos the file is rewritten in place (a reader can see it empty for a
// moment), its folder is removed and created again, and neither need exist when
// the daemon starts. So the package watches folders, never the file, waits until
// a change has settled, and takes "gone" or "empty" seriously only after they
// lasted.
//
// It may import nothing of the project, and it never interprets the content.
package source
