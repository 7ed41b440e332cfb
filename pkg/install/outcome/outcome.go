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

// CNI is the plugin and its installation.
type CNI struct {
	// Install is what the config asks for: true, false or force.
	Install string `yaml:"install" json:"install"`
	State   State  `yaml:"state" json:"state"`
	Owner   Owner  `yaml:"owner" json:"owner"`
	Path    string `yaml:"path" json:"path"`
	// Version of the program at Path, "" when it is not ours.
	Version string `yaml:"version,omitempty" json:"version,omitempty"`
	// Reason is why it is not as asked, Hint what to do.
	Reason string `yaml:"reason,omitempty" json:"reason,omitempty"`
	Hint   string `yaml:"hint,omitempty" json:"hint,omitempty"`
}
