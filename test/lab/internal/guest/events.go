package guest

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Event is one line of /run/lab/boot.json.
type Event struct {
	Mono   float64   `json:"mono"` // seconds since the kernel started
	Wall   time.Time `json:"wall"`
	Name   string    `json:"name"`
	Detail string    `json:"detail,omitempty"`
}

// events keeps the record in memory and, once there is a /run, in a file.
type events struct {
	mu   sync.Mutex
	all  []Event
	file *os.File
}

func monotonic() float64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return float64(ts.Sec) + float64(ts.Nsec)/1e9
}

// add records an event and says it on the console.
func (e *events) add(name, format string, args ...any) {
	ev := Event{Mono: monotonic(), Wall: time.Now().UTC(), Name: name, Detail: fmt.Sprintf(format, args...)}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
	if e.file != nil {
		e.write(ev)
	}
	fmt.Fprintf(os.Stderr, "lab[%8.3f] %s %s\n", ev.Mono, ev.Name, ev.Detail)
}

func (e *events) write(ev Event) {
	b, err := json.Marshal(ev)
	if err != nil {
		return
	}
	_, _ = e.file.Write(append(b, '\n'))
}

// open starts the file with what was recorded before.
func (e *events) open(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open event file: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.file = f
	for _, ev := range e.all {
		e.write(ev)
	}
	return nil
}

func (e *events) snapshot() []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]Event(nil), e.all...)
}
