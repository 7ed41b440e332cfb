package artifact

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// fileContext is a line of file_contexts(5): which files have a label. A line's pattern
// has to match the whole path.
type fileContext struct {
	path    *regexp.Regexp
	exact   bool // the pattern is a path, and goes before those that are not
	regular bool // for regular files only
	label   string
}

// fileContexts reads a policy's file_contexts.
func fileContexts(text string) ([]fileContext, error) {
	var out []fileContext
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) != 2 && (len(f) != 3 || f[1] != "--") {
			return nil, fmt.Errorf("file_contexts: cannot read the line %q", line)
		}
		re, err := regexp.Compile("^(?:" + f[0] + ")$")
		if err != nil {
			return nil, fmt.Errorf("file_contexts: %w", err)
		}
		out = append(out, fileContext{path: re, exact: regexp.QuoteMeta(f[0]) == f[0], regular: len(f) == 3, label: f[len(f)-1]})
	}
	return out, nil
}

// contextOf is the label of a path: of those that match, the last exact one, or else the
// last. It is empty where there is none.
func contextOf(contexts []fileContext, path string, mode fs.FileMode) string {
	label, exact := "", false
	for _, c := range contexts {
		if (!exact || c.exact) && (!c.regular || mode.IsRegular()) && c.path.MatchString(path) {
			label, exact = c.label, c.exact
		}
	}
	return label
}

// label labels the files of a root for SELinux, as Talos' build does with the policy's
// file_contexts.
func label(root, text string) error {
	contexts, err := fileContexts(text)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		context := contextOf(contexts, filepath.Join("/", rel), d.Type())
		if context == "" {
			return nil
		}
		if err := unix.Lsetxattr(path, "security.selinux", append([]byte(context), 0), 0); err != nil {
			return &os.PathError{Op: "label", Path: path, Err: err}
		}
		return nil
	})
}
