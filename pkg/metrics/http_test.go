package metrics

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// pages is a fixed set of pages.
type pages struct {
	text string
	sick error
}

func (p pages) Metrics() []byte { return []byte(p.text) }
func (p pages) Health() error   { return p.sick }

func TestAnswer(t *testing.T) {
	const host = "Host: a\r\n"
	for _, tc := range []struct {
		name, request string
		status        int
		body          string
	}{
		{"metrics", "GET /metrics HTTP/1.1\r\n" + host + "\r\n", 200, "m 1\n"},
		{"as Prometheus asks", "GET /metrics HTTP/1.1\r\n" + host + "User-Agent: Prometheus/3.5.0\r\nAccept: application/openmetrics-text;version=1.0.0;q=0.6,*/*;q=0.1\r\nAccept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n", 200, "m 1\n"},
		{"a query", "GET /metrics?name=x HTTP/1.1\r\n" + host + "\r\n", 200, "m 1\n"},
		{"bare line feeds", "GET /metrics HTTP/1.1\nhost:a\n\n", 200, "m 1\n"},
		{"an old client", "GET /metrics HTTP/1.0\r\n\r\n", 200, "m 1\n"},
		{"head", "HEAD /metrics HTTP/1.1\r\n" + host + "\r\n", 200, ""},
		{"healthz", "GET /healthz HTTP/1.1\r\n" + host + "\r\n", 200, "ok\n"},
		{"a body is not waited for", "GET /metrics HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nhello", 200, "m 1\n"},
		{"another page", "GET / HTTP/1.1\r\n" + host + "\r\n", 404, "there are /metrics and /healthz\n"},
		{"no way up", "GET /metrics/../../etc/passwd HTTP/1.1\r\n" + host + "\r\n", 404, "there are /metrics and /healthz\n"},
		{"post", "POST /metrics HTTP/1.1\r\n" + host + "\r\n", 405, "only GET and HEAD\n"},
		{"absolute target", "GET http://a/metrics HTTP/1.1\r\n" + host + "\r\n", 404, "there are /metrics and /healthz\n"},
		{"version 2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "this is a server of HTTP/1.1\n"},
		{"version 3", "GET /metrics HTTP/3\r\n" + host + "\r\n", 505, "this is a server of HTTP/1.1\n"},
		{"no version", "GET /metrics\r\n\r\n", 400, "the first line is no request\n"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 400, "the first line is no request\n"},
		{"an empty line", "\r\nGET /metrics HTTP/1.1\r\n" + host + "\r\n", 400, "the first line is no request\n"},
		{"two spaces", "GET  /metrics HTTP/1.1\r\n" + host + "\r\n", 400, "the first line is no request\n"},
		{"a control character", "GET /metr\x01ics HTTP/1.1\r\n" + host + "\r\n", 400, "the first line is no request\n"},
		{"no host", "GET /metrics HTTP/1.1\r\n\r\n", 400, "one Host header is required\n"},
		{"two hosts", "GET /metrics HTTP/1.1\r\n" + host + "hOST: b\r\n\r\n", 400, "one Host header is required\n"},
		{"a header without a colon", "GET /metrics HTTP/1.1\r\n" + host + "x\r\n\r\n", 400, "a header is malformed\n"},
		{"a folded header", "GET /metrics HTTP/1.1\r\n" + host + " x: y\r\n\r\n", 400, "a header is malformed\n"},
		{"a space before the colon", "GET /metrics HTTP/1.1\r\nHost : a\r\n\r\n", 400, "a header is malformed\n"},
		{"a bare carriage return", "GET /metrics HTTP/1.1\r\n" + host + "x: a\rb\r\n\r\n", 400, "a header is malformed\n"},
		{"cut off in the first line", "GET /met", 400, "the request is cut off\n"},
		{"cut off after it", "GET /metrics HTTP/1.1\r\n", 400, "the request is cut off\n"},
		{"long target", "GET /" + strings.Repeat("a", MaxRequest) + " HTTP/1.1\r\n" + host + "\r\n", 431, "the request is too long\n"},
		{"many headers", "GET /metrics HTTP/1.1\r\n" + host + strings.Repeat("x: y\r\n", MaxRequest/6), 431, "the request is too long\n"},
		{"nothing", "", 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req, err := readRequest(strings.NewReader(tc.request))
			r := answer(req, err, pages{text: "m 1\n"})
			if tc.status == 0 {
				if r != nil {
					t.Fatalf("answered with %q", r.bytes())
				}
				return
			}
			method := "GET"
			if strings.HasPrefix(tc.request, "HEAD") {
				method = "HEAD"
			}
			got, body := parseResponse(t, r.bytes(), method)
			if got.StatusCode != tc.status || body != tc.body || !got.Close {
				t.Errorf("status %d, body %q, close %v", got.StatusCode, body, got.Close)
			}
			if tc.status == 405 && got.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
}

// parseResponse reads our answer with the standard library's client.
func parseResponse(tb testing.TB, raw []byte, method string) (*http.Response, string) {
	tb.Helper()
	in := bufio.NewReader(bytes.NewReader(raw))
	r, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		tb.Fatalf("%v:\n%s", err, raw)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		tb.Fatalf("%v:\n%s", err, raw)
	}
	if rest, _ := io.ReadAll(in); len(rest) > 0 {
		tb.Fatalf("%d bytes after the answer", len(rest))
	}
	return r, string(body)
}

func TestHealth(t *testing.T) {
	r := answer(request{method: "GET", path: "/healthz"}, nil, pages{sick: errors.New("the machine cannot be read")})
	if r.status != 503 || string(r.body) != "the machine cannot be read\n" {
		t.Errorf("%d %q", r.status, r.body)
	}
}

// A request may come in any pieces.
func TestReadRequestInPieces(t *testing.T) {
	const text = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
	got, err := readRequest(iotest.OneByteReader(strings.NewReader(text)))
	if err != nil || got != (request{"GET", "/metrics"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := readRequest(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(text)))); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("error %v", err)
	}
}

// What we take for a request, the standard library's server takes for one too,
// and understands it alike; whatever comes in, what goes out is an answer.
func FuzzReadRequest(f *testing.F) {
	for _, s := range []string{
		"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /healthz?x=1 HTTP/1.0\n\n", "GET  / HTTP/1.1\r\n\r\n",
		"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "\r\n\r\n", "GET /\x00 HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := readRequest(bytes.NewReader(data))
		r := answer(req, err, pages{text: "m 1\n"})
		if r == nil {
			if len(data) > 0 {
				t.Errorf("no answer, error %v", err)
			}
			return
		}
		got, _ := parseResponse(t, r.bytes(), req.method)
		if got.StatusCode != 200 {
			return
		}
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			// What they refuse and we do not look at: the body's length, and
			// what the host and other headers say.
			return
		}
		if theirs.Method != req.method || theirs.URL.Path != req.path {
			t.Errorf("we read %+v, they %s %s", req, theirs.Method, strconv.Quote(theirs.URL.Path))
		}
	})
}
