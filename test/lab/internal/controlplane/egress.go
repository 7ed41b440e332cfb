package controlplane

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// egress is the HTTP CONNECT proxy through which the API server reaches nodes.
type egress struct {
	mu     sync.Mutex
	routes map[string]string // "node-1:10250" to an address of the host
	server *http.Server
}

func startEgress(socket string) (*egress, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listen for the API server's connections to nodes: %w", err)
	}
	e := &egress{routes: map[string]string{}}
	e.server = &http.Server{Handler: http.HandlerFunc(e.serve)}
	go func() { _ = e.server.Serve(l) }()
	return e, nil
}

func (e *egress) route(node, to string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.routes[node] = to
}

func (e *egress) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "CONNECT only", http.StatusMethodNotAllowed)
		return
	}
	e.mu.Lock()
	to := e.routes[r.Host]
	e.mu.Unlock()
	if to == "" {
		to = r.Host // for example a webhook on the host
	}
	up, err := net.Dial("tcp", to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	down, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		up.Close()
		return
	}
	if _, err := io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		up.Close()
		down.Close()
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(up, buf)
		_ = up.(*net.TCPConn).CloseWrite()
	})
	wg.Go(func() {
		_, _ = io.Copy(down, up)
		_ = down.(*net.UnixConn).CloseWrite()
	})
	wg.Wait()
	up.Close()
	down.Close()
}
