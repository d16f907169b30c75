package timesvc

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"
)

const (
	// httpTimeout bounds the reading of a request, and the sending of its answer.
	httpTimeout = time.Second

	// idleTimeout is how long a connection is kept for the next request.
	idleTimeout = 30 * time.Second

	// finishTimeout is for what is open in the end: a request and its answer.
	finishTimeout = 2 * httpTimeout
)

// web is the server of the same time over HTTP.
func (s *Server) web(addr string, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:        s.handler(addr),
		ReadTimeout:    httpTimeout,
		WriteTimeout:   httpTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what clients do
	}
}

func (s *Server) handler(addr string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		s.reply(w, http.StatusOK, now(addr))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if s.draining.Load() {
			s.reply(w, http.StatusServiceUnavailable, "draining\n")
		} else {
			s.reply(w, http.StatusOK, "serving\n")
		}
	})
	return mux
}

func (s *Server) reply(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if s.draining.Load() {
		h.Set("Connection", "close") // the next request is better off elsewhere
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // an error is the client's: it is gone, or does not read
}

// finish ends web, and returns when the last answer is sent or has had its time.
func finish(web *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
	defer cancel()
	if web.Shutdown(ctx) != nil {
		_ = web.Close()
	}
}
