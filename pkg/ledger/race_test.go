//go:build race

package ledger

// raced: every state costs ten times as much, and the explorer has one goroutine.
const raced = true
