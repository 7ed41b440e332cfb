package apply_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

var update = flag.Bool("update", false, "write golden files")

// TestScripts plays the stories of testdata/script: configs as people write
// them, on the machine of newNode, with faults, pods and crashes. One verb a
// line:
//
//	doc FILE            the config in force; "none" is no entry at all
//	plan FILE           the plan is the text in FILE
//	run                 one run; what failed is for `error`
//	converge            runs until nothing is left that can be done; no errors
//	error TEXT          the last run failed, and says TEXT
//	fault ERRNO TEXT [N]  the next N (1) writes with TEXT in name=value fail
//	late ERRNO TEXT     the next such write takes effect and fails
//	crash TEXT          the next run ends at the point with TEXT in its name
//	restart             a new process; `restart lost`: without the record
//	hold VF, release VF a pod takes and returns the VF with the address
//	force PF            the operator forces the PF
//	write NAME VALUE    somebody writes to /sys
//	load DRIVER, unload DRIVER  before any PF binds it
//	writes N            as many writes since the last `writes`
//	vf PF INDEX TEXT    the VF's fingerprint contains TEXT; `!vf`: does not
//	pf PF TEXT          the PF's
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			arch, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &script{T: t, n: newNode(doc()), arch: arch}
			s.n.k.LoadVDPA("vhost_vdpa")
			for i, line := range strings.Split(string(arch.Comment), "\n") {
				if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(f[0], "#") {
					s.at = fmt.Sprintf("%s:%d: %s", file, i+1, line)
					s.do(f[0], f[1:], strings.TrimSpace(line[strings.Index(line, f[0])+len(f[0]):]))
				}
			}
			if v := s.n.k.Violations(); len(v) > 0 {
				if !s.forced {
					t.Error(v)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(arch), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

type script struct {
	*testing.T
	n      *node
	arch   *txtar.Archive
	at     string
	err    error
	faults []scripted
	crash  string
	writes int
	forced bool

	mu sync.Mutex // guards faults
}

type scripted struct {
	text  string
	fault modelkernel.Fault
}

func (s *script) file(name string) *txtar.File {
	for i := range s.arch.Files {
		if s.arch.Files[i].Name == name {
			return &s.arch.Files[i]
		}
	}
	s.Fatalf("%s: no file %s", s.at, name)
	return nil
}

var errnos = map[string]unix.Errno{
	"EIO": unix.EIO, "EBUSY": unix.EBUSY, "ENODEV": unix.ENODEV, "EAGAIN": unix.EAGAIN, "ENOMEM": unix.ENOMEM,
	"EOPNOTSUPP": unix.EOPNOTSUPP, "EINVAL": unix.EINVAL, "ENOSPC": unix.ENOSPC, "EPERM": unix.EPERM,
}

func (s *script) do(verb string, args []string, rest string) {
	n := s.n
	switch verb {
	case "doc":
		if args[0] == "none" {
			n.cfg = doc()
			return
		}
		cfg, err := spec.Load(args[0], s.file(args[0]).Data)
		if err != nil {
			s.Fatalf("%s: %v", s.at, err)
		}
		n.cfg = cfg
	case "plan":
		f, got := s.file(args[0]), text(n.plan())
		if *update {
			f.Data = []byte(got)
		}
		if d := cmp.Diff(string(f.Data), got); d != "" {
			s.Errorf("%s (-want +got):\n%s", s.at, d)
		}
	case "run":
		s.start()
		s.err = n.a.Run(s.Context(), n.plan()).Err()
		s.crash = ""
	case "converge":
		s.start()
		n.converge(s.T)
	case "error":
		if s.err == nil || !strings.Contains(s.err.Error(), rest) {
			s.Errorf("%s: the error is %v", s.at, s.err)
		}
	case "fault", "late":
		f := scripted{text: args[1], fault: modelkernel.Fault{Errno: errnos[args[0]], After: verb == "late"}}
		times := 1
		if len(args) > 2 {
			times, _ = strconv.Atoi(args[2])
		}
		for range times {
			s.faults = append(s.faults, f)
		}
		n.k.Faults(s.fault)
	case "crash":
		s.crash = args[0]
	case "restart":
		if len(args) > 0 {
			n.rec = record.Record{BootID: boot}
		}
		n.start()
	case "hold":
		n.hold(args[0])
	case "release":
		n.release(args[0])
	case "force":
		n.force = map[string]bool{args[0]: true}
		s.forced = true
	case "write":
		if err := n.k.Write(args[0], strings.Join(args[1:], " ")); err != nil {
			s.Fatalf("%s: %v", s.at, err)
		}
		s.writes++
	case "load":
		n.k.Load(args[0])
	case "unload":
		n.k.Unload(args[0])
	case "writes":
		w := n.k.Writes()
		if got := len(w) - s.writes; fmt.Sprint(got) != args[0] {
			s.Errorf("%s: %d writes: %q", s.at, got, w[s.writes:])
		}
		s.writes = len(w)
	case "vf", "!vf":
		got, want := section(n.k, args[0], args[1]), strings.Join(args[2:], " ")
		if strings.Contains(got, want) != (verb == "vf") {
			s.Errorf("%s: %s", s.at, got)
		}
	case "pf":
		if got := section(n.k, args[0], ""); !strings.Contains(got, strings.Join(args[1:], " ")) {
			s.Errorf("%s: %s", s.at, got)
		}
	default:
		s.Fatalf("%s: no such verb", s.at)
	}
}

// start makes an applier that crashes where the script says.
func (s *script) start() {
	opts, at := s.n.options(), s.crash
	opts.Point = func(name string) {
		if at != "" && strings.Contains(name, at) {
			runtime.Goexit()
		}
	}
	s.n.a = newApplier(s.n.k, opts)
}

func (s *script) fault(name, value string) modelkernel.Fault {
	s.mu.Lock() // PFs run in parallel
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if strings.Contains(name+"="+value, f.text) {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			return f.fault
		}
	}
	return modelkernel.Fault{}
}

// section is the line of the fingerprint about a PF, or one of its VFs.
func section(k *modelkernel.Kernel, pf, vf string) string {
	in := false
	for line := range strings.Lines(fingerprint(k)) {
		own := !strings.HasPrefix(line, " ")
		if own {
			in = strings.HasPrefix(line, pf)
		}
		if in && (vf == "" && own || vf != "" && !own && strings.HasPrefix(strings.TrimSpace(line), vf+" ")) {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return ""
}
