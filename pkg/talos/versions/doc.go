// Package versions is the table of the minor versions of Talos between which this
// project makes a difference.
//
// It may import the standard library and x/mod/semver; nothing of this project, and
// not the Talos machinery, so that what renders for a version needs no client.
package versions
