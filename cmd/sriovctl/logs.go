package main

import (
	"bytes"
	"context"
	"io"
	"sync"

	"github.com/talos-sriov/talos-sriov/pkg/talos"
)

// lines mixes the logs of several nodes, line by line.
type lines struct {
	named bool // each line begins with its node's name

	mu sync.Mutex
	w  io.Writer
}

// logs returns what forEach is to do.
func (l *lines) logs(follow bool, tail int32) func(context.Context, *talos.Node) (struct{}, error) {
	return func(ctx context.Context, n *talos.Node) (struct{}, error) {
		p := &prefixed{l: l}
		if l.named {
			p.prefix = n.Name + ": "
		}
		err := n.Logs(ctx, p, follow, tail)
		p.flush()
		return struct{}{}, err
	}
}

// prefixed writes whole lines, each with a prefix.
type prefixed struct {
	l      *lines
	prefix string
	rest   []byte
}

func (p *prefixed) Write(data []byte) (int, error) {
	p.rest = append(p.rest, data...)
	for {
		i := bytes.IndexByte(p.rest, '\n')
		if i < 0 {
			return len(data), nil
		}
		if err := p.emit(p.rest[:i+1]); err != nil {
			return 0, err
		}
		p.rest = p.rest[i+1:]
	}
}

func (p *prefixed) emit(line []byte) error {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	_, err := p.l.w.Write(append([]byte(p.prefix), line...))
	return err
}

func (p *prefixed) flush() {
	if len(p.rest) > 0 {
		// Nobody is left to tell that the output is closed.
		_ = p.emit(append(p.rest, '\n'))
		p.rest = nil
	}
}
