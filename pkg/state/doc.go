// Package state keeps what must outlive the daemon, in one folder
// (/var/lib/sriov): the record of what earlier runs made (plan.State), the last
// good document, and the operator's force orders.
//
// At an early start the folder cannot be written yet, because /var is not
// mounted. The store then holds everything in memory, and writes it, merged with
// what it finds, when the folder arrives.
//
// Nothing read from here ever causes a write to hardware by itself: a record
// that is lost, damaged, from another boot or from a newer version is as good as
// none. The package may import plan and use, and nothing else of the project.
package state
