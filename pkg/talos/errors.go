package talos

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talos-sriov/talos-sriov/pkg/talos/versions"
)

// Error is an error for the person at the workstation, with what to do.
type Error struct {
	Node string // "" when it concerns no node
	Msg  string
	Hint string
	Err  error // may be nil
	// Code is the gRPC code of the API's answer, OK when it was none.
	Code codes.Code
}

func (e *Error) Error() string {
	s := e.Msg
	if e.Node != "" {
		s = e.Node + ": " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Denied reports whether err is the API's refusal for want of a role.
func Denied(err error) bool { return code(err) == codes.PermissionDenied }

// code is the gRPC code of an answer, before or after explain; OK for an error
// that is none of the API's.
func code(err error) codes.Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	var withStatus interface{ GRPCStatus() *status.Status }
	switch {
	case errors.As(err, &withStatus):
		return withStatus.GRPCStatus().Code()
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	return codes.OK
}

// apiText is what the API answered, without the dressing of gRPC.
func apiText(err error) error {
	var withStatus interface{ GRPCStatus() *status.Status }
	if errors.As(err, &withStatus) {
		return errors.New(withStatus.GRPCStatus().Message())
	}
	return err
}

// explain turns what the API answered into an [Error] that says what to do. what
// is what was tried: "read /sys/...".
func explain(node, what string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	e := &Error{Node: node, Msg: what, Err: apiText(err), Code: code(err)}
	switch e.Code {
	case codes.DeadlineExceeded:
		e.Msg, e.Err = "no answer in time ("+what+")", nil
		e.Hint = "is the node up, and port 50000 open? --timeout gives it longer"
	case codes.Unavailable:
		e.Msg = "cannot be reached"
		e.Hint = "is the node up, and port 50000 open? -e names other endpoints, --talosconfig another configuration"
	case codes.PermissionDenied:
		e.Msg, e.Err = what+": the role of this talosconfig does not allow it", nil
		e.Hint = "it needs os:admin: talosctl config new --roles os:admin makes such a talosconfig"
	case codes.Unauthenticated:
		e.Msg = "does not accept this talosconfig"
		e.Hint = "is it for this cluster? --context and --talosconfig choose another"
	case codes.Unimplemented:
		e.Msg, e.Err = what+": this version of Talos cannot do it", nil
		e.Hint = "the oldest supported version is " + versions.All()[0].Version
	}
	return e
}
