package modelkernel_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

const (
	pf    = "0000:21:00.0"
	attrs = "bus/pci/devices/" + pf + "/"
)

func model(t *testing.T) (*modelkernel.Kernel, func(name, value string, want unix.Errno)) {
	k := modelkernel.New(modelkernel.Standard()...)
	k.AddPF(modelkernel.PF{Address: pf, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7, Name: "enp33s0", MAC: "52:54:00:00:00:01"})
	return k, func(name, value string, want unix.Errno) {
		t.Helper()
		err := k.Write(name, value)
		if want == 0 && err != nil || want != 0 && !errors.Is(err, want) {
			t.Errorf("write %q to %s: %v, want %v", value, name, err, want)
		}
	}
}

// TestLikeTheRealKernel holds the model to what was seen on Linux 6.12 with an
// emulated 82576.
func TestLikeTheRealKernel(t *testing.T) {
	k, w := model(t)
	w(attrs+"sriov_numvfs", "8", unix.ERANGE)
	w(attrs+"sriov_numvfs", "x", unix.EINVAL)
	w(attrs+"sriov_numvfs", "4", 0)
	w(attrs+"sriov_numvfs", "4", 0)
	w(attrs+"sriov_numvfs", "7", unix.EBUSY)
	w(attrs+"sriov_nope", "1", unix.ENOENT)
	vfs := k.Snapshot().PF(pf).VFs
	if vfs[3].Address != "0000:21:10.6" || vfs[3].Driver != "igbvf" || len(vfs[3].Netdevs) != 1 {
		t.Errorf("VF 3: %+v", vfs[3])
	}
	w(attrs+"sriov_numvfs", "0", 0)

	// With autoprobe off a VF binds only where driver_override says so.
	w(attrs+"sriov_drivers_autoprobe", "0", 0)
	w(attrs+"sriov_numvfs", "2", 0)
	w("bus/pci/drivers_probe", "0000:21:10.0", 0)
	w("bus/pci/drivers/igbvf/bind", "0000:21:10.0", unix.ENODEV)
	w("bus/pci/devices/0000:21:10.2/driver_override", "vfio-pci", 0)
	w("bus/pci/drivers_probe", "0000:21:10.2", 0)
	vfs = k.Snapshot().PF(pf).VFs
	if vfs[0].Driver != "" || vfs[1].Driver != "vfio-pci" || len(vfs[1].Netdevs) != 0 {
		t.Errorf("VFs: %+v", vfs)
	}
	w("bus/pci/drivers/vfio-pci/unbind", "0000:21:10.0", unix.ENODEV)
	w("bus/pci/drivers/vfio-pci/unbind", "0000:21:10.2", 0)
}

// TestInventoryReadsTheModel: Snapshot is what inventory.Read sees, field by field.
func TestInventoryReadsTheModel(t *testing.T) {
	k, w := model(t)
	w(attrs+"sriov_numvfs", "3", 0)
	w("bus/pci/drivers/igbvf/unbind", "0000:21:10.2", 0)
	w("bus/pci/devices/0000:21:10.2/driver_override", "vfio-pci", 0)
	w("bus/pci/drivers_probe", "0000:21:10.2", 0)
	k.Hold("0000:21:10.4", "p")
	read, err := inventory.Read(t.Context(), k, k)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(k.Snapshot(), read); d != "" {
		t.Errorf("(-model +read):\n%s", d)
	}
}

// variants are machines that have together something in every field that
// inventory.Read fills, also in those of a machine that does not answer.
func variants() map[string]*modelkernel.Kernel {
	out := map[string]*modelkernel.Kernel{"full": modelkernel.Full()}
	silent := modelkernel.Full()
	silent.FailNetwork(func(what string) error {
		if what == modelkernel.AskAddrs {
			return unix.ENOBUFS
		}
		return nil
	})
	out["addresses are not answered"] = silent
	ppp := modelkernel.Full()
	ppp.AddLink("ppp0", "ppp", "")
	ppp.SetDefaultRoute("ppp0")
	out["PPP"] = ppp
	mute := modelkernel.Full()
	mute.FailNetwork(func(what string) error {
		if what == modelkernel.AskMode || what == modelkernel.AskTC {
			return &inventory.Unanswerable{Source: "the model"}
		}
		return nil
	})
	out["a network that cannot ask for eswitches"] = mute
	ixgbe := modelkernel.New(modelkernel.Standard()...)
	const ix = "0000:05:00.0"
	ixgbe.AddPF(modelkernel.PF{Address: ix, Vendor: "8086", Device: "10fb", VFDevice: "10ed", Driver: "ixgbe", Total: 8, Name: "enp5s0", MAC: "90:e2:ba:00:00:01", Offset: 128, Stride: 2})
	_ = ixgbe.Write(sysfs.NumVFs(ix), "1") // the field would be missing
	out["a driver that reports the RSS query"] = ixgbe
	late := modelkernel.Full()
	late.Forget("enp33s0")
	out["an interface that netlink does not list"] = late
	return out
}

// TestEveryFieldIsFilled: the model has every field of a snapshot, and Read of it
// through the interfaces that the daemon uses is what Snapshot gives.
func TestEveryFieldIsFilled(t *testing.T) {
	filled := map[string]bool{}
	for name, k := range variants() {
		s := k.Snapshot()
		read, err := inventory.Read(t.Context(), k, k)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(s, read); d != "" {
			t.Errorf("%s: (-model +read):\n%s", name, d)
		}
		mark(reflect.ValueOf(s).Elem(), filled)
	}
	mark(reflect.ValueOf(silent(t)).Elem(), filled)
	for _, missing := range fields(reflect.TypeFor[inventory.Snapshot](), nil) {
		if !filled[missing] {
			t.Errorf("the model fills no %s", missing)
		}
	}
}

// silent is what is read while a write of sriov_numvfs does not return: the attributes
// that wait for it cost the PF's answer, and no other's.
func silent(t *testing.T) *inventory.Snapshot {
	k := modelkernel.Full()
	stuck, answer, done := make(chan struct{}), make(chan struct{}), make(chan error)
	k.Faults(func(string, string) modelkernel.Fault { close(stuck); return modelkernel.Fault{Until: answer} })
	go func() { done <- k.Write(attrs+"sriov_numvfs", "0") }()
	<-stuck
	k.Faults(nil)
	late := make(chan struct{})
	r := inventory.NewReader(k, k, inventory.ReaderOptions{Bound: 20 * time.Millisecond, OnAnswer: func() { close(late) }})
	s, err := r.Read(t.Context(), inventory.Everything())
	if err != nil {
		t.Fatal(err)
	}
	close(answer)
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-late
	return s
}

// TestUnanswered: a question about devices that fails costs each of them a note, one
// that cannot be asked costs a single note of the network, and one that the driver has
// no answer for none.
func TestUnanswered(t *testing.T) {
	for _, what := range []string{modelkernel.AskVFs, modelkernel.AskMode, modelkernel.AskTC, modelkernel.AskInfo, modelkernel.AskRDMA} {
		notes := func(failure error) []inventory.Note {
			k := modelkernel.Full()
			k.FailNetwork(func(asked string) error {
				if asked == what {
					return failure
				}
				return nil
			})
			return k.Snapshot().Notes
		}
		if got := notes(&nl.Error{Op: "ask", Err: unix.EOPNOTSUPP}); len(got) > 0 {
			t.Errorf("%s is not supported: %v", what, got)
		}
		want := []inventory.Note{{Device: "network", What: what, Err: "the model does not show it", Unanswerable: true}}
		if d := cmp.Diff(want, notes(fmt.Errorf("ask: %w", &inventory.Unanswerable{Source: "the model"}))); d != "" {
			t.Errorf("%s cannot be asked (-want +got):\n%s", what, d)
		}
		failed := notes(unix.EIO)
		if len(failed) == 0 {
			t.Errorf("%s fails, and there is no note", what)
		}
		for _, n := range failed {
			if n.What != what || n.Err != unix.EIO.Error() || n.Unanswerable || (n.Device == "network") != (what == modelkernel.AskRDMA) {
				t.Errorf("%s fails: %+v", what, n)
			}
		}
	}
}

// TestFieldsAreFound: what is checked are the fields of every type that a snapshot can
// hold, in pointers, slices, arrays, maps and embedded structures.
func TestFieldsAreFound(t *testing.T) {
	type leaf struct{ X, y int }
	type inner struct{ Leaf *[]leaf }
	type other struct{ Z int }
	type outer struct {
		inner
		M map[string][2]other
	}
	const in = "modelkernel_test."
	want := []string{in + "outer.inner", in + "inner.Leaf", in + "leaf.X", in + "outer.M", in + "other.Z"}
	if got := fields(reflect.TypeFor[outer](), nil); !slices.Equal(got, want) {
		t.Errorf("fields %q, want %q", got, want)
	}
	filled := map[string]bool{}
	mark(reflect.ValueOf(outer{inner: inner{&[]leaf{{}, {X: 1, y: 2}}}, M: map[string][2]other{"": {{}, {3}}}}), filled)
	for _, f := range want {
		if !filled[f] {
			t.Errorf("%s is not found filled", f)
		}
	}
	got := fields(reflect.TypeFor[inventory.Snapshot](), nil)
	for _, f := range []string{"Snapshot.PFs", "VF.Function", "Netdev.AltNames", "VFAdmin.Unreported", "NetworkAnswers.Hidden", "Note.Unanswerable", "AER.Fatal"} {
		if !slices.Contains(got, "inventory."+f) {
			t.Errorf("%s is not checked", f)
		}
	}
}

// mark records the fields that are not zero, as PACKAGE.TYPE.FIELD.
func mark(v reflect.Value, filled map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			mark(v.Elem(), filled)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			mark(v.Index(i), filled)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			mark(it.Key(), filled)
			mark(it.Value(), filled)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsZero() {
				filled[v.Type().String()+"."+v.Type().Field(i).Name] = true
				mark(f, filled)
			}
		}
	}
}

// fields are all exported and embedded fields of the type and of those that it is
// made of.
func fields(typ reflect.Type, out []string) []string {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return fields(typ.Elem(), out)
	case reflect.Map:
		return fields(typ.Elem(), fields(typ.Key(), out))
	case reflect.Struct:
		for i := range typ.NumField() {
			f := typ.Field(i)
			if name := typ.String() + "." + f.Name; (f.IsExported() || f.Anonymous) && !slices.Contains(out, name) {
				out = fields(f.Type, append(out, name))
			}
		}
	}
	return out
}
