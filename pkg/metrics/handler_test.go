package metrics

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

const metricsText = "# HELP m_total Help.\n# TYPE m_total counter\nm_total 1\n"

// registry has one counter, m_total, at 1.
func registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "m_total", Help: "Help."})
	c.Inc()
	r.MustRegister(c)
	return r
}

func healthy() error { return nil }

// What a client sends, as bytes on the wire, and what it gets. The connection ends
// with each response.
func TestResponses(t *testing.T) {
	const host = "Host: a\r\n"
	r := start(t, "127.0.0.1:0", nil)
	r.next()
	for _, tc := range []struct {
		name, request string
		status        int
		body          string // "" is any, for what net/http refuses
	}{
		{"metrics", "GET /metrics HTTP/1.1\r\n" + host + "\r\n", 200, metricsText},
		{"as Prometheus asks", "GET /metrics HTTP/1.1\r\n" + host + "User-Agent: Prometheus/3.5.0\r\nAccept: application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1\r\nAccept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n", 200, metricsText},
		{"a query", "GET /metrics?x=y HTTP/1.1\r\n" + host + "\r\n", 200, metricsText},
		{"bare line feeds", "GET /metrics HTTP/1.1\nhost:a\n\n", 200, metricsText},
		{"an old client", "GET /metrics HTTP/1.0\r\n\r\n", 200, metricsText},
		{"keep-alive", "GET /metrics HTTP/1.1\r\n" + host + "Connection: keep-alive\r\n\r\n", 200, metricsText},
		{"two at once", "GET /metrics HTTP/1.1\r\n" + host + "\r\nGET /metrics HTTP/1.1\r\n" + host + "\r\n", 200, metricsText},
		{"a body is not waited for", "GET /metrics HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nhello", 200, metricsText},
		{"healthz", "GET /healthz HTTP/1.1\r\n" + host + "\r\n", 200, "ok\n"},
		{"another page", "GET / HTTP/1.1\r\n" + host + "\r\n", 404, "there are /metrics and /healthz\n"},
		{"no way up", "GET /metrics/../../etc/passwd HTTP/1.1\r\n" + host + "\r\n", 404, "there are /metrics and /healthz\n"},
		{"the client library's debug page", "GET /debug/vars HTTP/1.1\r\n" + host + "\r\n", 404, "there are /metrics and /healthz\n"},
		{"post", "POST /metrics HTTP/1.1\r\n" + host + "\r\n", 405, "only GET and HEAD\n"},
		{"options", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 405, "only GET and HEAD\n"},
		{"connect", "CONNECT a:1 HTTP/1.1\r\n" + host + "\r\n", 405, "only GET and HEAD\n"},
		{"version 2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405, ""},
		{"version 3", "GET /metrics HTTP/3.0\r\n" + host + "\r\n", 505, ""},
		{"no version", "GET /metrics\r\n\r\n", 400, ""},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 400, ""},
		{"a control character", "GET /metr\x01ics HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"no host", "GET /metrics HTTP/1.1\r\n\r\n", 400, ""},
		{"two hosts", "GET /metrics HTTP/1.1\r\n" + host + "hOST: b\r\n\r\n", 400, ""},
		{"a header without a colon", "GET /metrics HTTP/1.1\r\n" + host + "x\r\n\r\n", 400, ""},
		{"a space before the colon", "GET /metrics HTTP/1.1\r\n" + host + "x : a\r\n\r\n", 400, ""},
		{"long target", "GET /" + strings.Repeat("a", 8<<10) + " HTTP/1.1\r\n" + host + "\r\n", 431, ""},
		{"many headers", "GET /metrics HTTP/1.1\r\n" + host + strings.Repeat("x: y\r\n", (8<<10)/6) + "\r\n", 431, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, body := exchange(t, r.Addr(), tc.request)
			if got.StatusCode != tc.status || tc.body != "" && body != tc.body {
				t.Errorf("status %d, body %q", got.StatusCode, body)
			}
			if tc.status == 405 && got.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("405 with Allow %q", got.Header.Get("Allow"))
			}
			if got.Header.Get("Content-Encoding") != "" {
				t.Errorf("compressed: %v", got.Header)
			}
		})
	}
}

// exchange sends the request and reads one response, after which the connection
// must end.
func exchange(t *testing.T, addr net.Addr, request string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	// The end may be a reset when the server did not read all of the request.
	body, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, unix.ECONNRESET) {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(in); err != nil && !errors.Is(err, unix.ECONNRESET) || len(rest) > 0 {
		t.Errorf("after the response: %q, %v", rest, err)
	}
	return resp, string(body)
}

func TestHead(t *testing.T) {
	h := handler(Pages{registry(), healthy}, slog.New(slog.DiscardHandler))
	for _, page := range []string{"/metrics", "/healthz"} {
		server := httptest.NewServer(h)
		resp, err := http.Head(server.URL + page)
		server.Close()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || len(body) > 0 {
			t.Errorf("%s: %d, body %q, %v", page, resp.StatusCode, body, err)
		}
		_ = resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestContentType(t *testing.T) {
	for page, want := range map[string]string{"/metrics": "text/plain; version=0.0.4", "/healthz": "text/plain; charset=utf-8"} {
		w := httptest.NewRecorder()
		handler(Pages{registry(), healthy}, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", page, nil))
		if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, want) || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v, want the type %q", page, w.Header(), want)
		}
	}
}

func TestHealth(t *testing.T) {
	pages := Pages{registry(), func() error { return errors.New("the machine cannot be read") }}
	w := httptest.NewRecorder()
	handler(pages, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
	if w.Code != 503 || w.Body.String() != "the machine cannot be read\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

// broken is a collector of which one metric cannot be collected.
type broken struct{ good, bad *prometheus.Desc }

func (b broken) Describe(ch chan<- *prometheus.Desc) { ch <- b.good; ch <- b.bad }
func (b broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(b.good, prometheus.GaugeValue, 1)
	ch <- prometheus.NewInvalidMetric(b.bad, errors.New("no value"))
}

// A metric that cannot be collected is logged, and the others are served.
func TestPartly(t *testing.T) {
	r := prometheus.NewRegistry()
	r.MustRegister(broken{prometheus.NewDesc("good", "Help.", nil, nil), prometheus.NewDesc("bad", "Help.", nil, nil)})
	var log strings.Builder
	w := httptest.NewRecorder()
	handler(Pages{r, healthy}, slog.New(slog.NewTextHandler(&log, nil))).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if want := "# HELP good Help.\n# TYPE good gauge\ngood 1\n"; w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %q, want %q", w.Code, w.Body, want)
	}
	if got := fmt.Sprint(&log); !strings.Contains(got, "cannot collect metrics") || !strings.Contains(got, "no value") {
		t.Errorf("log: %s", got)
	}
}
