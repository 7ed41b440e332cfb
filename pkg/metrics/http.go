package metrics

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// MaxRequest is the most that the head of a request may have, in bytes.
const MaxRequest = 8 << 10

// request is what matters of an HTTP request.
type request struct {
	method string
	path   string // without the query
}

// refusal is a request that is answered with an error.
type refusal struct {
	status int
	why    string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.status, r.why) }

func refuse(status int, why string) error { return &refusal{status, why} }

// readRequest reads the head of a request (RFC 9112, sections 2 to 5). The error
// is a *refusal for what deserves an answer, io.EOF for a connection that was
// closed without a word, and else what reading gave. A body is not read: the
// pages take none, and the connection ends with the answer.
func readRequest(from io.Reader) (request, error) {
	// One byte more than allowed, to tell the limit from the end.
	in := bufio.NewReaderSize(io.LimitReader(from, MaxRequest+1), 1<<10)
	left := MaxRequest
	next := func() (string, error) {
		s, err := in.ReadString('\n')
		if left -= len(s); left < 0 {
			return "", refuse(431, "the request is too long")
		}
		if err != nil {
			if errors.Is(err, io.EOF) && (s != "" || left < MaxRequest) {
				return "", refuse(400, "the request is cut off")
			}
			return "", err
		}
		return strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r"), nil
	}
	first, err := next()
	if err != nil {
		return request{}, err
	}
	method, rest, ok1 := strings.Cut(first, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || !token(method) || !visible(target) || !strings.HasPrefix(version, "HTTP/") {
		return request{}, refuse(400, "the first line is no request")
	}
	if version != "HTTP/1.1" && version != "HTTP/1.0" {
		return request{}, refuse(505, "this is a server of HTTP/1.1")
	}
	hosts := 0
	for {
		line, err := next()
		if err != nil {
			return request{}, err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) || strings.ContainsAny(value, "\r\x00") {
			return request{}, refuse(400, "a header is malformed")
		}
		if strings.EqualFold(name, "Host") {
			hosts++
		}
	}
	if hosts > 1 || hosts == 0 && version == "HTTP/1.1" {
		return request{}, refuse(400, "one Host header is required")
	}
	path, _, _ := strings.Cut(target, "?")
	return request{method: method, path: path}, nil
}

// token reports whether s is one (RFC 9110, section 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

// statusText are the statuses that we answer with.
var statusText = map[int]string{
	200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
	431: "Request Header Fields Too Large", 503: "Service Unavailable", 505: "HTTP Version Not Supported",
}

// response is an answer; it always ends the connection.
type response struct {
	status      int
	contentType string
	body        []byte
	headOnly    bool // HEAD: the length is said, the body is not sent
}

func (r *response) bytes() []byte {
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n",
		r.status, statusText[r.status], r.contentType, len(r.body))
	if r.status == 405 {
		head += "Allow: GET, HEAD\r\n"
	}
	out := []byte(head + "\r\n")
	if !r.headOnly {
		out = append(out, r.body...)
	}
	return out
}

func plain(status int, text string) *response {
	return &response{status: status, contentType: "text/plain; charset=utf-8", body: []byte(text + "\n")}
}

// answer is the response to a request that was read, or to the error of reading
// it; nil when there is nothing to say.
func answer(req request, err error, pages Pages) *response {
	var bad *refusal
	switch {
	case errors.As(err, &bad):
		return plain(bad.status, bad.why)
	case err != nil:
		return nil
	case req.method != "GET" && req.method != "HEAD":
		return plain(405, "only GET and HEAD")
	}
	var r *response
	switch req.path {
	case "/metrics":
		r = &response{status: 200, contentType: ContentType, body: pages.Metrics()}
	case "/healthz":
		if err := pages.Health(); err != nil {
			r = plain(503, err.Error())
		} else {
			r = plain(200, "ok")
		}
	default:
		r = plain(404, "there are /metrics and /healthz")
	}
	r.headOnly = req.method == "HEAD"
	return r
}
