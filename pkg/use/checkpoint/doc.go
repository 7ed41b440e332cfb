// Package checkpoint reads the kubelet's own file of which container was given which
// device: a witness beside pod-resources, which leaves out ordinary init containers and
// says nothing while the kubelet is silent. What an entry proves, pkg/use decides
// (Kubelet.Entries).
//
// What the kubelet does with the file (pkg/kubelet/cm/devicemanager of Kubernetes 1.37):
//
//   - It replaces the file in one step at each allocation, at each list of devices that
//     any plugin sends, and when a plugin has been away for long. So it is never half
//     written, and an entry is there before the container starts.
//   - It forgets ended pods in memory, at an allocation and at each List, but only once
//     it has its pods from the API server. The file keeps their entries until it is
//     written again, which on a quiet node may take long.
//   - After a boot it reads the file and lets its pods have their devices again.
//
// Pods are in it by UID, List has them by name. The names of the log directories,
// NAMESPACE_NAME_UID, have both, of static pods too: their UID is the hash of the
// manifest in either place. The kubelet makes the directory with the pod's sandbox and
// removes it some time after the pod was deleted. Until then the entry of a pod that was
// replaced by one of its name, as a StatefulSet does, is taken for the new one's.
//
// The file carries a checksum over the printed form of the kubelet's own Go types. It is
// not verified: the form depends on the kubelet's version, the file is replaced whole,
// and whatever in it does not read as assignments is an error anyway. Fields that are
// not known are passed over. A file in another form than the two known ones is an
// error, and never one without entries.
//
// It may import pkg/use and pkg/internal/fileid. It keeps nothing open and never writes.
package checkpoint
