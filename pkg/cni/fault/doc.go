// Package fault is the error that every part of the CNI plugin answers with: what
// was found, what to do about it and the code of the CNI specification or of this
// plugin. [AsCNI] makes the specification's error object of it.
//
// It may import the types of containernetworking/cni, and nothing of this project.
// It never logs, and decides nothing.
package fault
