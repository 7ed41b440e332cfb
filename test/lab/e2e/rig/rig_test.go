// Package rig tests the lab itself, with a stub in the place of the extension:
// what it claims to do as Talos does.
package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

var node *lab.Node

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	ctx := context.Background()
	stub, err := lab.StubExtension(ctx)
	if err != nil {
		return 1, err
	}
	if node, err = lab.Start(ctx, lab.Options{Extension: stub}); err != nil {
		return 1, err
	}
	defer node.Close()
	return m.Run(), nil
}

func document(content string) string {
	return "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: stub\nconfigFiles:\n  - mountPath: /etc/stub/config.yaml\n    content: " + content + "\n"
}

// begin makes a case leave its logs, and the node as it was.
func begin(t *testing.T) context.Context {
	t.Helper()
	node.Watch(t)
	t.Cleanup(func() {
		ctx := context.Background()
		if err := errors.Join(node.RemoveDocument(ctx, lab.Talos, "stub"), node.DeletePods(ctx)); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return t.Context()
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func logHas(t *testing.T, ctx context.Context, text string) {
	t.Helper()
	if err := node.WaitFor(ctx, "wait for "+text+" in the log of the stub", func(ctx context.Context) (bool, error) {
		l, err := node.Service("ext-stub").Log(ctx)
		return strings.Contains(l, text), err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestBootOrder(t *testing.T) {
	ctx := begin(t)
	events := must(node.BootEvents(ctx))(t)
	var got []string
	for _, e := range events {
		got = append(got, e.Name)
	}
	last := -1
	for _, want := range []string{"init", "root", "udev", "extension-started", "config", "network", "var", "cri", "kubelet-started"} {
		i := slices.Index(got, want)
		if i <= last {
			t.Fatalf("%q is not where it belongs in %v", want, got)
		}
		last = i
	}
	if err := node.CheckReadOnly(ctx); err != nil {
		t.Error(err)
	}
}

func TestServiceRuntime(t *testing.T) {
	ctx := begin(t)
	log := must(node.Service("ext-stub").Log(ctx))(t)
	_, line, ok := strings.Cut(log, "REPORT ")
	if !ok {
		t.Fatalf("no report in %s", log)
	}
	line, _, _ = strings.Cut(line, "\n")
	var r struct {
		Env, Mounts                              []string
		CapBnd, Seccomp, NoNewPrivs, Cwd, Cgroup string
		PID                                      int
		WritableRoot, WritableRun, WritableVar   bool
	}
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatal(err)
	}
	slices.Sort(r.Env)
	for what, pair := range map[string][2]any{
		"environment":         {strings.Join(r.Env, " "), "HOME=/ STUB=1"},
		"capabilities":        {r.CapBnd, "000001ffffbeffff"}, // all but SYS_MODULE and SYS_BOOT
		"seccomp":             {r.Seccomp, "2"},
		"no new privileges":   {r.NoNewPrivs, "1"},
		"working directory":   {r.Cwd, "/"},
		"cgroup":              {r.Cgroup, "0::/system/extensions/stub"},
		"PID":                 {r.PID, 1},
		"writable root":       {r.WritableRoot, false},
		"writable /run":       {r.WritableRun, true},
		"/var at the start":   {r.WritableVar, false},
		"own /run is a mount": {slices.ContainsFunc(r.Mounts, func(m string) bool { return strings.HasPrefix(m, "tmpfs /run ") }), true},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %v, want %v", what, pair[0], pair[1])
		}
	}
	// /var arrived through a bind that was made before it was mounted.
	if !strings.Contains(log, `SEE writableVar "true"`) || !strings.Contains(log, `SEE kubelet.sock "true"`) {
		t.Errorf("/var did not show up in the container:\n%s", log)
	}
}

func TestDocumentDelivery(t *testing.T) {
	ctx := begin(t)
	svc := node.Service("ext-stub")
	before := must(svc.State(ctx))(t)
	starts := func() int { return must(svc.State(ctx))(t).Starts - before.Starts }

	// The first document does not restart a running service, and is visible
	// under the static bind only.
	must(0, node.SetDocument(ctx, lab.Talos, document("one")))(t)
	logHas(t, ctx, "etc-stub-config.yaml=one")
	if n := starts(); n != 0 {
		t.Errorf("the first document restarted the service %d times", n)
	}
	// A change does, and then the file is at its mount path.
	must(0, node.SetDocument(ctx, lab.Talos, document("two")))(t)
	logHas(t, ctx, `SEE mountPath "twofalse"`)
	if n := starts(); n != 1 {
		t.Errorf("a changed document restarted the service %d times", n)
	}
	// The same again does nothing.
	must(0, node.SetDocument(ctx, lab.Talos, document("two")))(t)
	// The file alone does nothing either, but is seen.
	must(0, node.SetDocument(ctx, lab.FileOnly, document("three")))(t)
	logHas(t, ctx, "etc-stub-config.yaml=three")
	if n := starts(); n != 1 {
		t.Errorf("after an identical document and a file: %d starts", n)
	}
	// Removal restarts, and leaves an empty file at the mount path.
	must(0, node.RemoveDocument(ctx, lab.Talos, "stub"))(t)
	logHas(t, ctx, `SEE mountPath "false"`)
}

func TestExitIsRestartedAfterFiveSeconds(t *testing.T) {
	ctx := begin(t)
	svc := node.Service("ext-stub")
	before := must(svc.State(ctx))(t)
	must(0, svc.Kill(ctx, syscall.SIGKILL))(t)
	if err := node.WaitFor(ctx, "wait for the restart", func(ctx context.Context) (bool, error) {
		s, err := svc.State(ctx)
		return s.Starts > before.Starts && s.State == "Running", err
	}); err != nil {
		t.Fatal(err)
	}
	events := must(node.BootEvents(ctx))(t)
	var exit, start float64
	for _, e := range events {
		switch e.Name {
		case "extension-exit":
			exit = e.Mono
		case "extension-started":
			start = e.Mono
		}
	}
	if d := start - exit; d < 5 || d > 15 {
		t.Errorf("started %.1f s after the exit", d)
	}
}

const pod = `apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  dnsPolicy: Default
  containers:
  - name: c
    image: busybox:1.35
    imagePullPolicy: Never
    command: [sh, -c, "echo hello; exec sleep 100000"]
`

func runPod(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	start := time.Now()
	must(0, node.Apply(ctx, fmt.Sprintf(pod, name)))(t)
	must(node.WaitPod(ctx, name, "ready", lab.Pod.Ready))(t)
	t.Logf("pod ready after %s", time.Since(start).Round(100*time.Millisecond))
	if err := node.WaitFor(ctx, "read the pod's log", func(ctx context.Context) (bool, error) {
		l, err := node.PodLogs(ctx, name)
		return l == "hello\n", err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestPod(t *testing.T) {
	ctx := begin(t)
	runPod(t, ctx, "one")
	if out := must(node.Kubectl(ctx, "exec", "one", "--", "cat", "/proc/1/comm"))(t); out != "sleep\n" {
		t.Errorf("exec in the pod gave %q", out)
	}
}

func TestLargeOutputAndFiles(t *testing.T) {
	ctx := begin(t)
	out := must(node.Exec(ctx, "dd if=/dev/zero bs=64k count=64 2>/dev/null | tr '\\0' x"))(t)
	if len(out) != 64*64<<10 {
		t.Errorf("%d bytes of output", len(out))
	}
	must(0, node.Put(ctx, "/tmp/x/large", 0o600, []byte(out)))(t)
	if b := must(node.Get(ctx, "/tmp/x/large"))(t); string(b) != out {
		t.Errorf("%d bytes came back", len(b))
	}
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := node.Exec(short, "sleep 100"); err == nil {
		t.Error("a script that sleeps ended in time")
	}
	var exit *lab.ExitError
	if _, err := node.Exec(ctx, "echo out; echo err >&2; exit 3"); !errors.As(err, &exit) || exit.Code != 3 || exit.Stdout != "out\n" || exit.Stderr != "err\n" {
		t.Errorf("got %v", err)
	}
}

func TestRebootKeepsVarAndConfiguration(t *testing.T) {
	ctx := begin(t)
	runPod(t, ctx, "stays")
	must(0, node.SetDocument(ctx, lab.Talos, document("kept")))(t)
	must(node.Exec(ctx, "echo kept > /var/lib/lab/mark; echo gone > /run/mark"))(t)
	start := time.Now()
	must(0, node.Reboot(ctx))(t)
	t.Logf("reboot to Ready: %s", time.Since(start).Round(100*time.Millisecond))
	if out := must(node.Exec(ctx, "cat /var/lib/lab/mark; ls /run/mark 2>/dev/null || true"))(t); out != "kept\n" {
		t.Errorf("got %q", out)
	}
	logHas(t, ctx, "etc-stub-config.yaml=kept")
	// It came after the service, and did not restart it.
	if s := must(node.Service("ext-stub").State(ctx))(t); s.Starts != 1 {
		t.Errorf("%d starts", s.Starts)
	}
	must(node.WaitPod(ctx, "stays", "running again", func(p lab.Pod) bool {
		return p.Ready() && p.Status.Containers[0].RestartCount > 0
	}))(t)
	if err := node.CheckReadOnly(ctx); err != nil {
		t.Error(err)
	}
}
