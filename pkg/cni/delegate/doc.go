// Package delegate runs IPAM plugins, the only programs that anything on the
// node runs. It is apart from package cni, because the daemon reclaims what
// ended pods left with that package, and must not be able to run programs.
//
// It imports containernetworking/cni and nothing of this project.
package delegate
