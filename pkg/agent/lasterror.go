package agent

import "sync"

// lastError is for errors that would be logged at each pass and are logged once.
type lastError struct {
	mu   sync.Mutex
	text string
}

// news reports whether there is an error, and another one than at the last call.
func (l *lastError) news(err error) bool {
	text := ""
	if err != nil {
		text = err.Error()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.text
	l.text = text
	return text != "" && text != was
}

// saved logs why something is in force and not on the disk, if there is an error. That
// it is over, only the next look at the directory shows.
func (a *Agent) saved(err error) {
	if err != nil && a.unsaved.news(err) {
		a.log.Error("cannot write state, kept in memory", "err", err)
	}
}
