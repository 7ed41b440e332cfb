package metrics

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Pages is what is served. Both are called from several goroutines.
type Pages struct {
	// Metrics are served at /metrics.
	Metrics prometheus.Gatherer
	// Health is served at /healthz; nil is healthy.
	Health func() error
}

// handler serves the pages, to GET and HEAD alone.
func handler(pages Pages, log *slog.Logger) http.Handler {
	metrics := promhttp.HandlerFor(pages.Metrics, promhttp.HandlerOpts{
		ErrorLog: errorLog{log},
		// The metrics that can be collected are worth more than none.
		ErrorHandling: promhttp.ContinueOnError,
		// A page of some kilobytes, mostly within the node: a compressor's window is
		// many times that.
		DisableCompression: true,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		// No ServeMux: it answers an unclean path with a redirect.
		switch r.URL.Path {
		case "/metrics":
			metrics.ServeHTTP(w, r)
		case "/healthz":
			health(w, pages.Health())
		default:
			http.Error(w, "there are /metrics and /healthz", http.StatusNotFound)
		}
	})
}

func health(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n") // a client that is gone needs no answer
}

// errorLog is what the client library logs errors of collecting to.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Println(v ...any) { l.log.Warn("cannot collect metrics", "err", fmt.Sprint(v...)) }
