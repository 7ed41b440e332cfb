// Package cluster is what a case asks of Kubernetes: objects, pods, and waiting for
// them.
package cluster
