package cni

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
)

// While a DEL waits for its IPAM plugin no ADD gets the VF.
func TestDelHoldsTheLockDuringIPAM(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	args := cmd("c1", "/ns/a", conf(0, `"ipam":{"type":"x"}`))
	_, err := r.Add(t.Context(), args)
	must(t, err)
	var second error
	r.ipam.hook = func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		r.m.kill("/ns/a")
		_, second = r.Add(ctx, cmd("c2", "/ns/b", conf(0, "")))
	}
	must(t, r.Del(t.Context(), args))
	if second == nil || !strings.Contains(second.Error(), "lock VF") {
		t.Errorf("ADD during DEL: %v", second)
	}
}

// An IPAM plugin that is not there is found before anything changes, and the DEL
// that follows a failed ADD succeeds. With an attachment there is an address to
// release: DEL fails, and is finished when the program is back.
func TestIPAMProgramMissing(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	before := r.m.state()
	args := cmd("c1", "/ns/a", conf(0, `"ipam":{"type":"host-local"}`))
	missing := errors.New("failed to find plugin")

	r.ipam.missing = missing
	_, err := r.Add(t.Context(), args)
	if e := fault.AsCNI(err); e.Code != fault.CodeIPAM || !strings.Contains(e.Msg, "host-local") || e.Details == "" {
		t.Errorf("error is %+v", e)
	}
	r.untouched(t, before)
	must(t, r.Del(t.Context(), args))

	r.ipam.missing = nil
	_, err = r.Add(t.Context(), args)
	must(t, err)
	r.ipam.missing = missing
	if err := r.Del(t.Context(), args); err == nil {
		t.Error("DEL succeeded, and nobody released the address")
	}
	r.ipam.missing = nil
	must(t, r.Del(t.Context(), args))
	r.untouched(t, before)
	if r.ipam.held != 0 {
		t.Error("the address was not released")
	}
}
