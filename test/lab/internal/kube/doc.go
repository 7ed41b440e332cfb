// Package kube is a small client of the Kubernetes API: requests, answers and
// the few types that the lab reads. It has no cache and no watch.
package kube
