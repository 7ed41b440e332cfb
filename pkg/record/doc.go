// Package record is what earlier runs wrote down about the machine: which card was
// proven to be no uplink, what a PF was like before its first change of the boot,
// which runs did not end, what a driver refused, and which force tokens were carried
// out.
//
// It is pure: every method returns a new value and leaves its receiver and its
// arguments as they were. It imports nothing of the project. What it has to know of a
// plan comes as small values of its own (Run, Intent, Evidence, Tokens), which pkg/plan
// makes; pkg/state keeps a record on the disk.
//
// A record only ever permits (an early start, a reset of what was made) or avoids
// repeating (a refused attribute, a force token): losing it never causes a write. Its
// values are text for the file's sake; they are compared, and never parsed.
package record
