// Command labstub is an extension service with which the lab tests itself: it
// says what it finds around it, and what changes.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	status, _ := os.ReadFile("/proc/self/status")
	pick := func(key string) string {
		for l := range strings.Lines(string(status)) {
			if v, ok := strings.CutPrefix(l, key+":"); ok {
				return strings.TrimSpace(v)
			}
		}
		return ""
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	wd, _ := os.Getwd()
	host, _ := os.Hostname()
	cgroup, _ := os.ReadFile("/proc/self/cgroup")
	dev, _ := filepath.Glob("/dev/*")
	writable := func(dir string) bool {
		p := filepath.Join(dir, "lab-stub-probe")
		f, err := os.Create(p)
		if err != nil {
			return false
		}
		f.Close()
		return os.Remove(p) == nil
	}
	report := map[string]any{
		"args": os.Args, "env": os.Environ(), "cwd": wd, "uid": os.Getuid(), "pid": os.Getpid(), "hostname": host,
		"capBnd": pick("CapBnd"), "capEff": pick("CapEff"), "noNewPrivs": pick("NoNewPrivs"), "seccomp": pick("Seccomp"),
		"cgroup": strings.TrimSpace(string(cgroup)), "dev": dev, "mounts": strings.Split(strings.TrimSpace(string(mounts)), "\n"),
		"writableRoot": writable("/"), "writableRun": writable("/run"), "writableVar": writable("/var"),
	}
	b, _ := json.Marshal(report)
	fmt.Printf("REPORT %s\n", b)

	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	tick := time.NewTicker(100 * time.Millisecond)
	last := map[string]string{}
	see := func(key, value string) {
		if last[key] != value {
			last[key] = value
			fmt.Printf("SEE %s %q\n", key, value)
		}
	}
	for {
		files, _ := filepath.Glob("/host/overlays/*/*")
		var all []string
		for _, f := range files {
			b, _ := os.ReadFile(f)
			all = append(all, f+"="+string(b))
		}
		see("overlays", strings.Join(all, ";"))
		b, err := os.ReadFile("/etc/stub/config.yaml")
		see("mountPath", fmt.Sprint(string(b), err != nil))
		see("writableVar", fmt.Sprint(writable("/var")))
		_, err = os.Stat("/var/lib/kubelet/device-plugins/kubelet.sock")
		see("kubelet.sock", fmt.Sprint(err == nil))
		select {
		case <-term:
			fmt.Println("SIGTERM")
			return
		case <-tick.C:
		}
	}
}
