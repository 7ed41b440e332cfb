// Package readmission measures how many pods that hold devices a kubelet admits again
// when it starts and their containers are gone, as after a reboot, by each of the two
// ways in which a device plugin comes to be known.
//
// Nothing is emulated: kubelet, containerd and sriovd run on the test's own machine, in a
// box (internal/box) whose power is cut; sriovd is the program that is shipped, on a
// sysfs that is made up. The pods are in a real API server and use the host's network,
// so that no CNI plugin takes part.
package readmission
