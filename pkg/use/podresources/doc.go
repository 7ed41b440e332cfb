// Package podresources reads the kubelet's pod-resources socket: which running
// pods have which devices, of plugins and of claims that drivers of dynamic resources
// serve.
//
// It asks List and never Get. A step may run when nobody has its devices, and
// only List says that of a device: Get says what one pod has that is already
// known by name, and a pod that is not found says nothing of a device that the
// next pod has got. What List leaves out, Get leaves out too: both skip the
// devices of ordinary init containers, and the kubelet forgets those of ended
// pods before it answers List (pkg/kubelet/apis/podresources/server_v1.go of
// Kubernetes 1.36). For those there is the kubelet's checkpoint (pkg/use/checkpoint),
// which is read before List is asked, so that what it has and List has not is over. List
// also serves kubelets before 1.34, where Get is off.
//
// Whether there is a kubelet is what connect(2) says and not what came of the call: one
// that hangs, limits the rate or does not serve the API is there.
//
// It may import pkg/use, pkg/pci and the kubelet's API. It never writes, and never
// connects before it is asked something.
package podresources
