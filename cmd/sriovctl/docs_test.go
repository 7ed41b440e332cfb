package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/spf13/cobra"
)

const docsDir = "../../docs/sriovctl"

// transcripts are the golden outputs that a page shows, as file in testdata,
// name in it, and the command that gave it.
var transcripts = map[string][3]string{
	"discover":         {"discover.txt", "all.golden", "sriovctl discover -n igb,cx7,plain,gone"},
	"generate patch":   {"generate.txt", "patch.golden", "sriovctl generate patch -n cx7 --pf enp1s0f0np0 --vfs 4 --resource nvidia.com/cx7_qsfp"},
	"generate network": {"convert.txt", "networks.golden", "sriovctl generate network policies.yaml"},
	"validate":         {"validate.txt", "bad.golden", "sriovctl validate bad.yaml"},
	"plan":             {"plan.txt", "waits.golden", "sriovctl plan allowed.yaml -n igb"},
	"status":           {"status.txt", "status.golden", "sriovctl status -n igb,cx7"},
	"convert":          {"convert.txt", "patch.golden", "sriovctl convert policies.yaml"},
	"logs":             {"status.txt", "logs.golden", "sriovctl logs -n igb --tail 2"},
	"apply":            {"apply.txt", "apply.golden", "sriovctl apply vfs.yaml -n igb --yes"},
}

// TestDocs keeps a page for each command, made from its help and its golden
// transcript, so that neither can say anything that is not so.
func TestDocs(t *testing.T) {
	a := &app{now: time.Now}
	pages := make(map[string][]byte)
	var index bytes.Buffer
	index.WriteString("# sriovctl\n\n")
	root := a.root()
	fmt.Fprintf(&index, "%s\n\n```\n%s\n```\n\n| command | |\n|---|---|\n", root.Long, root.Example)
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if sub.Name() == "help" || sub.Name() == "completion" {
				continue
			}
			if sub.HasSubCommands() {
				walk(sub)
				continue
			}
			name := strings.TrimPrefix(sub.CommandPath(), "sriovctl ")
			file := strings.ReplaceAll(name, " ", "-") + ".md"
			fmt.Fprintf(&index, "| [%s](%s) | %s |\n", name, file, sub.Short)
			pages[file] = page(t, name, sub)
		}
	}
	walk(root)
	fmt.Fprintf(&index, "\nOf every command:\n\n```\n%s```\n", root.PersistentFlags().FlagUsages())
	pages["README.md"] = index.Bytes()
	for file, want := range pages {
		file = filepath.Join(docsDir, file)
		if *update {
			if err := os.MkdirAll(docsDir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("%v (go test ./cmd/sriovctl -update makes it)", err)
			continue
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is not what the command says (-want +got):\n%s", file, diff)
		}
	}
}

func page(t *testing.T, name string, c *cobra.Command) []byte {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "# sriovctl %s\n\n%s\n\n```\n%s\n\n%s```\n\nFor example:\n\n```\n%s\n```\n", name, c.Long, c.UseLine(), c.LocalNonPersistentFlags().FlagUsages(), c.Example)
	if tr, ok := transcripts[name]; ok {
		archive, err := txtar.ParseFile(filepath.Join("testdata", tr[0]))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if f.Name == tr[1] {
				fmt.Fprintf(&b, "\nWhat it prints, as in its tests:\n\n```\n$ %s\n%s```\n", tr[2], f.Data)
			}
		}
	}
	return b.Bytes()
}

// TestHelp: every command has an example and says what it is for, and the help
// of the root fits a screen of 24 lines.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	a := &app{now: time.Now, out: &out, err: &out, in: strings.NewReader("")}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if sub.Name() == "help" || sub.Name() == "completion" || sub.Parent().Name() == "completion" {
				continue
			}
			if sub.Example == "" || sub.Long == "" {
				t.Errorf("%s: no example or no explanation", sub.CommandPath())
			}
			for line := range strings.Lines(sub.Long) {
				if len(line) > 84 {
					t.Errorf("%s: a line of the help is too long: %s", sub.CommandPath(), line)
				}
			}
			walk(sub)
		}
	}
	walk(a.root())
	if code := a.run(t.Context(), []string{"--help"}); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(out.String(), "\n"); n > 24 {
		t.Errorf("the help has %d lines:\n%s", n, out.String())
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > 81 {
			t.Errorf("a line of the help has more than 80 columns: %s", line)
		}
	}
}
