package outcome

// State is how the installation is.
type State string

const (
	Installed State = "installed" // the image's plugin is in place
	Off       State = "off"       // not wanted, and none of ours is there
	Pending   State = "pending"   // waits for the machine: a mount, the state directory
	Foreign   State = "foreign"   // somebody else's program has the name and was left alone
	Newer     State = "newer"     // a newer program of ours is there and was left alone
	Failed    State = "failed"
)

// States are all of them.
func States() []State { return []State{Installed, Off, Pending, Foreign, Newer, Failed} }

// Owner says whose program has the plugin's name.
type Owner string

const (
	Nobody    Owner = "nobody"    // there is none
	Extension Owner = "extension" // ours
	Other     Owner = "other"
	Unknown   Owner = "unknown" // it could not be seen yet
)
