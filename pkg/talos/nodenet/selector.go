package nodenet

import (
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/machineconfig"
)

// DeviceSelector evaluates a deviceSelector of the v1alpha1 document, or one of
// the deviceSelectors of a bond. Every key restricts; a selector without any
// matches nothing. A key that is not known here may match whatever it likes.
// Source: Talos, internal/app/machined/pkg/controllers/network/device_config.go.
func DeviceSelector(n *yaml.Node, l *Link) Certainty {
	if n == nil || n.Kind != yaml.MappingNode {
		return Maybe
	}
	result, asked, strange := Yes, false, false
	for key, value := range machineconfig.Pairs(n) {
		text := machineconfig.Text(value)
		if text == "" && isScalar(value) {
			continue // as good as not there
		}
		match, ok := l.selectorKey(key.Value, text, isScalar(value))
		asked, strange = true, strange || !ok
		result = both(result, match)
	}
	switch {
	case strange:
		return Maybe
	case !asked:
		return No
	}
	return result
}

// selectorKey compares one key of a selector; false when it is not known what it
// asks for.
func (l *Link) selectorKey(key, text string, scalar bool) (Certainty, bool) {
	if !scalar {
		return Maybe, false
	}
	switch key {
	case "hardwareAddr":
		return l.matchesMAC(text, l.MAC), true
	case "permanentAddr":
		return l.matchesMAC(text, l.PermMAC), true
	case "pciID":
		return l.matches(text, l.PCIID), true
	case "driver":
		return l.matches(text, l.Driver), true
	case "busPath":
		return l.matches(text, l.BusPath), true
	case "physical":
		want, err := strconv.ParseBool(text)
		if err != nil {
			return Maybe, false
		}
		return known(want == l.Physical()), true
	}
	return Maybe, false
}

func isScalar(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n.Kind == yaml.ScalarNode
}
