//go:build ruleguard

// Package rules holds the bans of this project that need to see the shape of an
// expression. The linter reads this file; nothing links it.
package rules

import "github.com/quasilyte/go-ruleguard/dsl"

func errorText(m dsl.Matcher) {
	m.Match(
		`strings.Contains($err.Error(), $_)`,
		`strings.HasPrefix($err.Error(), $_)`,
		`strings.HasSuffix($err.Error(), $_)`,
		`$err.Error() == $_`,
		`$err.Error() != $_`,
	).
		Where(m["err"].Type.Implements("error") && !m.File().Name.Matches(`_test\.go$`)).
		Report("branch on the error's type or errno, never on its text")
}

func createUnderSysfs(m dsl.Matcher) {
	m.Match(`os.OpenFile($_, $flags, $_)`, `unix.Open($_, $flags, $_)`, `unix.Openat($_, $_, $flags, $_)`).
		Where(m.File().PkgPath.Matches(`pkg/(sysfs|apply|inventory|kevent)$`) && m["flags"].Text.Matches(`O_CREAT`)).
		Report("a file is never created under a sysfs root: a missing attribute must fail")
}

func skipWithoutReason(m dsl.Matcher) {
	m.Import("testing")
	m.Match(`$t.Skip()`, `$t.SkipNow()`).
		Where(m["t"].Type.Implements("testing.TB")).
		Report("a test that skips must give what it needs, or it looks like one that was forgotten")
}
