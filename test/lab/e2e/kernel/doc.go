// Package kernel runs tests of the main module on a real kernel that has what
// the lab's network cards lack: netdevsim, with devlink, an eswitch mode,
// representors, tc offload and the VF attributes that igb refuses; and vduse,
// for vDPA devices. The guest has no node in it, and lives for seconds.
package kernel
