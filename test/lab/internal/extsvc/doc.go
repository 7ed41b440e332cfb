// Package extsvc holds the rules by which Talos turns an extension service spec
// and its ExtensionServiceConfig document into a container. It is pure: specs
// and documents go in, an OCI runtime spec, file lists and decisions come out.
// The guest package puts them into effect.
package extsvc
