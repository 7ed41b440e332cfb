// Package podresources reads the kubelet's pod-resources socket: which running
// pods have which devices.
//
// It asks List and never Get. A step may run when nobody has its devices, and
// only List says that of a device: Get says what one pod has that is already
// known by name, and a pod that is not found says nothing of a device that the
// next pod has got. What List leaves out, Get leaves out too: both skip the
// devices of ordinary init containers, and the kubelet forgets those of ended
// pods before it answers List (pkg/kubelet/apis/podresources/server_v1.go of
// Kubernetes 1.36). For those there is the kernel's evidence, and our own note of
// the allocation for as long as use.Settle keeps it. List also serves kubelets
// before 1.34, where Get is off.
//
// It may import pkg/use and the kubelet's API. It never writes, and never
// connects before it is asked something.
package podresources
