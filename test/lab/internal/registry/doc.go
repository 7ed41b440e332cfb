// Package registry serves container images that are made on the spot to the guests, in
// the place of the registries that they name.
package registry
