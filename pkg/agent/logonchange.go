package agent

import (
	"slices"
	"sync"
)

// mostLogged bounds what a logOnChange remembers. Its keys hold names of pods and texts of
// messages, of which there is no end on a node that runs for long.
const mostLogged = 2048

// logOnChange runs a function the first time for each key, and again when the value of
// the key changed: what would be logged at each reconcile is logged once. Of more
// keys than mostLogged the half that was used least recently is forgotten.
type logOnChange struct {
	mu   sync.Mutex
	used uint64
	keys map[string]loggedValue
}

type loggedValue struct {
	value string
	used  uint64
}

func (l *logOnChange) do(key, value string, f func()) {
	if l.changed(key, value) {
		f()
	}
}

// failed runs a function for another error than the last one of the key; nil is that
// there is none any more.
func (l *logOnChange) failed(key string, err error, f func()) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if l.changed(key, text) && err != nil {
		f()
	}
}

func (l *logOnChange) changed(key, value string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used++
	was, known := l.keys[key]
	if l.keys == nil {
		l.keys = map[string]loggedValue{}
	}
	l.keys[key] = loggedValue{value, l.used}
	if len(l.keys) > mostLogged {
		l.forget()
	}
	return !known || was.value != value
}

// forget drops the older half. The caller holds the lock.
func (l *logOnChange) forget() {
	ages := make([]uint64, 0, len(l.keys))
	for _, k := range l.keys {
		ages = append(ages, k.used)
	}
	slices.Sort(ages)
	middle := ages[len(ages)/2]
	for key, k := range l.keys {
		if k.used < middle {
			delete(l.keys, key)
		}
	}
}
