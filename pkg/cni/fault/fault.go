package fault

import (
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"
)

// Error codes of this plugin. Codes below 100 are the CNI specification's;
// those used here are 5 (state files), 6 (not JSON), 7 (bad configuration), 11
// (try again later) and 50 (STATUS: not available).
const (
	CodeNoDevice    = 101 // the configuration has no deviceID
	CodeBadDevice   = 102 // deviceID is no PCI address
	CodeIsPF        = 103 // deviceID is a PF
	CodeNotVF       = 104 // deviceID is a PCI function without a PF
	CodeGone        = 105 // no such PCI function
	CodeNoNetdev    = 106 // neither a network interface nor a userspace driver
	CodeInUse       = 107 // another pod has the VF
	CodeBadNetns    = 108 // CNI_NETNS is no usable network namespace
	CodeSetVF       = 109 // the PF refused an attribute of the VF
	CodeMove        = 110 // the interface could not be moved or configured
	CodeRDMA        = 111 // the RDMA device could not be moved
	CodeIPAM        = 112 // the IPAM plugin failed
	CodeReadVF      = 113 // the VF's present state could not be read
	CodeCheck       = 114 // CHECK found a difference
	CodeRelease     = 115 // the VF could not be given back; a retry may
	CodeBadArgs     = 116 // CNI_ARGS
	CodeNameTaken   = 117 // the pod has an interface with that name
	CodeUnavailable = 50  // STATUS, as the specification names it
)

// Error is for the person who must act: what was found, what to do, and a code
// for programs. It becomes the plugin's error JSON. It is not changed once it is
// made.
type Error struct {
	Code uint
	Msg  string
	Hint string
	Err  error // may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Msg
	}
	return e.Msg + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Newf makes an error without a cause.
func Newf(code uint, hint, format string, args ...any) *Error {
	return &Error{Code: code, Hint: hint, Msg: fmt.Sprintf(format, args...)}
}

// Wrapf makes an error of its cause, and nil of none.
func Wrapf(err error, code uint, hint, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Code: code, Hint: hint, Msg: fmt.Sprintf(format, args...), Err: err}
}

// AsCNI turns any error into the specification's error object; details carry
// the hint.
func AsCNI(err error) *types.Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return types.NewError(e.Code, err.Error(), e.Hint)
	}
	if e, ok := errors.AsType[*types.Error](err); ok {
		return e
	}
	return types.NewError(types.ErrInternal, err.Error(), "")
}

// hints are what to do about the errors that the CNI library itself gives for what
// reaches the plugin, by their code.
var hints = map[uint]string{
	types.ErrDecodingFailure:             "the network configuration (spec.config of the NetworkAttachmentDefinition) must be one JSON object",
	types.ErrInvalidNetworkConfig:        `the network configuration needs a "name" that starts with a letter or digit and has only letters, digits, "_", "." and "-"`,
	types.ErrIncompatibleCNIVersion:      "CHECK needs cniVersion 0.4.0 or later, STATUS and GC need 1.1.0",
	types.ErrInvalidEnvironmentVariables: "the container runtime or Multus calls the plugin; by hand, set CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME and CNI_PATH",
	types.ErrInvalidNetNS:                "CNI_NETNS must be the pod's network namespace, not the host's",
}

// WithHint adds what to do to an error of the CNI library.
func WithHint(e *types.Error) *types.Error {
	if e != nil && e.Details == "" {
		e.Details = hints[e.Code]
	}
	return e
}
