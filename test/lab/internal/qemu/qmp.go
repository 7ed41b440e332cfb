package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/proc"
)

// Monitor is a connection to a machine's monitor.
type Monitor struct {
	mu   sync.Mutex
	conn net.Conn
	r    *bufio.Reader
}

// Dial connects to a monitor's socket, which may not be there yet.
func Dial(ctx context.Context, socket string, alive func() error) (*Monitor, error) {
	m := &Monitor{}
	err := proc.Poll(ctx, "connect to QEMU's monitor", 20*time.Millisecond, func() (bool, error) {
		if err := alive(); err != nil {
			return false, &proc.Permanent{Err: err}
		}
		c, err := net.Dial("unix", socket)
		if err != nil {
			return false, err
		}
		m.conn, m.r = c, bufio.NewReader(c)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if _, err := m.r.ReadBytes('\n'); err != nil {
		return nil, fmt.Errorf("read QEMU's greeting: %w", err)
	}
	if _, err := m.Do("qmp_capabilities", nil); err != nil {
		return nil, err
	}
	return m, nil
}

// Do runs one command and returns its answer. Events are passed over.
func (m *Monitor) Do(command string, args any) (json.RawMessage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, args})
	if err != nil {
		return nil, fmt.Errorf("QEMU monitor %s: %w", command, err)
	}
	if err := m.conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return nil, fmt.Errorf("QEMU monitor %s: %w", command, err)
	}
	if _, err := m.conn.Write(append(b, '\n')); err != nil {
		return nil, fmt.Errorf("QEMU monitor %s: %w", command, err)
	}
	for {
		line, err := m.r.ReadBytes('\n')
		if err != nil {
			return nil, fmt.Errorf("QEMU monitor %s: read answer: %w", command, err)
		}
		var a struct {
			Event  string          `json:"event"`
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Class, Desc string
			} `json:"error"`
		}
		if err := json.Unmarshal(line, &a); err != nil {
			return nil, fmt.Errorf("QEMU monitor %s: decode answer: %w", command, err)
		}
		switch {
		case a.Event != "":
		case a.Error != nil:
			return nil, fmt.Errorf("QEMU monitor %s: %s", command, a.Error.Desc)
		default:
			return a.Return, nil
		}
	}
}

// HMP runs a command of the human monitor and returns what it prints.
func (m *Monitor) HMP(line string) (string, error) {
	r, err := m.Do("human-monitor-command", map[string]string{"command-line": line})
	if err != nil {
		return "", err
	}
	var s string
	if err := json.Unmarshal(r, &s); err != nil {
		return "", fmt.Errorf("QEMU monitor: decode answer: %w", err)
	}
	return s, nil
}

// Close ends the connection, not the machine.
func (m *Monitor) Close() error { return m.conn.Close() }

// Save stops the machine and writes its state to a file. The machine cannot go
// on after it: its disks belong to the copy then.
func (m *Monitor) Save(ctx context.Context, file string) error {
	if _, err := m.Do("migrate-set-parameters", map[string]any{"max-bandwidth": 100 << 30}); err != nil {
		return err
	}
	if _, err := m.Do("stop", nil); err != nil {
		return err
	}
	if _, err := m.Do("migrate", map[string]string{"uri": "file:" + file}); err != nil {
		return err
	}
	return proc.Poll(ctx, "save the machine's state", 50*time.Millisecond, func() (bool, error) {
		r, err := m.Do("query-migrate", nil)
		if err != nil {
			return false, &proc.Permanent{Err: err}
		}
		var s struct {
			Status    string `json:"status"`
			ErrorDesc string `json:"error-desc"`
		}
		if err := json.Unmarshal(r, &s); err != nil {
			return false, &proc.Permanent{Err: err}
		}
		if s.Status == "failed" || s.Status == "cancelled" {
			return false, &proc.Permanent{Err: errors.New(s.Status + ": " + s.ErrorDesc)}
		}
		return s.Status == "completed", fmt.Errorf("state %s", s.Status)
	})
}

// Resume lets a machine that was started with Incoming go on. A "cont" that is
// sent while the state is still being read is lost, so it is awaited first.
func (m *Monitor) Resume(ctx context.Context) error {
	err := proc.Poll(ctx, "read the machine's state", 20*time.Millisecond, func() (bool, error) {
		s, err := m.Status()
		if err != nil {
			return false, &proc.Permanent{Err: err}
		}
		return s == "paused", fmt.Errorf("status %s", s)
	})
	if err != nil {
		return err
	}
	_, err = m.Do("cont", nil)
	return err
}

// Status is the machine's run state.
func (m *Monitor) Status() (string, error) {
	r, err := m.Do("query-status", nil)
	if err != nil {
		return "", err
	}
	var s struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(r, &s); err != nil {
		return "", fmt.Errorf("QEMU monitor: decode status: %w", err)
	}
	return s.Status, nil
}

// SetLink changes the carrier of a card.
func (m *Monitor) SetLink(id string, up bool) error {
	_, err := m.Do("set_link", map[string]any{"name": id, "up": up})
	return err
}

// Unplug asks the guest to give a card back, and waits until it has: only then
// may the slot be filled again.
func (m *Monitor) Unplug(ctx context.Context, id string) error {
	if _, err := m.Do("device_del", map[string]string{"id": id}); err != nil {
		return err
	}
	return proc.Poll(ctx, "unplug "+id, 50*time.Millisecond, func() (bool, error) {
		r, err := m.Do("qom-list", map[string]string{"path": "/machine/peripheral"})
		if err != nil {
			return false, &proc.Permanent{Err: err}
		}
		var devices []struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(r, &devices); err != nil {
			return false, &proc.Permanent{Err: err}
		}
		for _, d := range devices {
			if d.Name == id {
				return false, errors.New("the guest still has it")
			}
		}
		return true, nil
	})
}

// Plug adds a card that was unplugged.
func (m *Monitor) Plug(n NIC) error {
	_, err := m.Do("device_add", map[string]string{
		"driver": "igb", "id": n.ID, "bus": "rp-" + n.ID, "netdev": "net-" + n.ID, "mac": n.MAC,
	})
	return err
}
