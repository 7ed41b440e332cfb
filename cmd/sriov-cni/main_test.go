package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/talos-sriov/talos-sriov/pkg/cni/fault"
)

// The test program is the plugin when a runtime's environment says so.
func TestMain(m *testing.M) {
	if os.Getenv("CNI_COMMAND") != "" {
		main()
	}
	os.Exit(m.Run())
}

// call runs the plugin, and gives its error object and what it wrote to stderr.
func call(t *testing.T, env map[string]string, stdin string) (types.Error, string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // one that hangs
	defer cancel()
	cmd := exec.CommandContext(ctx, exe)
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if _, exit := errors.AsType[*exec.ExitError](cmd.Run()); !exit || ctx.Err() != nil {
		t.Fatalf("the plugin did not fail, or not by itself: %v, stdout %q, stderr %q", ctx.Err(), &stdout, &stderr)
	}
	var e types.Error
	if err := json.Unmarshal(stdout.Bytes(), &e); err != nil {
		t.Fatalf("%v: %q", err, &stdout)
	}
	return e, stderr.String()
}

// What a NetworkAttachmentDefinition or a runtime names as a file or a namespace
// and is something else neither holds the plugin up nor is changed by it.
func TestPathsOfOthers(t *testing.T) {
	dir := t.TempDir()
	fifo, victim, missing := filepath.Join(dir, "fifo"), filepath.Join(dir, "victim"), filepath.Join(dir, "missing")
	exe, err := os.Executable()
	if err := errors.Join(err, syscall.Mkfifo(fifo, 0o600), os.WriteFile(victim, []byte("{}"), 0o600), os.Symlink(exe, filepath.Join(dir, "sriov"))); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, netns, more string
		code              uint
		stderr            string
	}{
		{"netns is a FIFO", fifo, "", fault.CodeBadNetns, ""},
		{"netns is a file", victim, "", fault.CodeBadNetns, ""},
		{"netns is a device", "/dev/null", "", fault.CodeBadNetns, ""},
		{"netns is another namespace", "/proc/self/ns/mnt", "", fault.CodeBadNetns, ""},
		{"log is a FIFO", missing, `,"logFile":"` + fifo + `"`, fault.CodeBadNetns, "logFile not opened"},
		{"log is somebody's", missing, `,"logFile":"` + victim + `"`, fault.CodeBadNetns, "logFile not opened"},
		{"log is not there", missing, `,"logFile":"` + missing + `"`, fault.CodeBadNetns, "logFile not opened"},
		{"IPAM plugin is itself", "/proc/self/ns/net", `,"ipam":{"type":"sriov"}`, fault.CodeIPAM, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := map[string]string{"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "net1", "CNI_PATH": dir, "CNI_NETNS": tc.netns}
			e, stderr := call(t, env, fmt.Sprintf(`{"cniVersion":"1.1.0","name":"net","type":"sriov","deviceID":"0000:00:00.0"%s}`, tc.more))
			if e.Code != tc.code || !strings.Contains(stderr, tc.stderr) {
				t.Errorf("code %d (%s), want %d; stderr %s", e.Code, e.Msg, tc.code, stderr)
			}
		})
	}
	if b, err := os.ReadFile(victim); string(b) != "{}" || err != nil {
		t.Errorf("the file of somebody else is %q, %v", b, err)
	}
	if _, err := os.Lstat(missing); err == nil {
		t.Error("a file was made")
	}
}
