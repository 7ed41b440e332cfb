// Package netname gives network interfaces the names that udev's predictable
// naming (ID_NET_NAME_PATH) would give them, from their place on the PCI bus:
// enp33s0 for 0000:21:00.0, and enp33s0v3 for its VF 3. Specs match by name, so
// the lab must name as Talos does.
package netname
