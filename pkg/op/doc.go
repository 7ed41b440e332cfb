// Package op is what can be done to the machine, as a closed set of types: one
// struct for each operation, with the data that it needs as typed fields.
// pkg/plan makes them, pkg/apply carries them out in one type switch, and what
// people and the status file are shown is a function of them.
//
// An Op knows what it is about (PF, VFs, Object), what was found (From), what must
// read back (Want), and what a snapshot shows of it (Read), so that planning,
// applying and checking compare one typed Value.
//
// The texts of Object and of a Value are for people and for the record on disk.
// Nobody parses them, and nobody decides by them what to write.
//
// It may import pkg/spec, pkg/sysfs (names only) and pkg/inventory. It is pure: it
// never reads or writes the machine, decides nothing, and knows none of its users.
package op
