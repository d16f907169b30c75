package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-rollcall/registry/timesvc"
)

// A report writes what get has found, as text or as one JSON object a line.
// Failures are in the text only as a number: why goes to the log.
type report struct {
	out  *bufio.Writer
	json bool
	err  error // the first of writing

	requests, failures int
	servers            map[string]int // answers by address
	latencies          []time.Duration
}

func newReport(w io.Writer, asJSON bool) *report {
	return &report{out: bufio.NewWriter(w), json: asJSON, servers: map[string]int{}}
}

type jsonRequest struct {
	Request   int           `json:"request"`
	Start     time.Time     `json:"start"`
	Addr      string        `json:"addr,omitempty"`
	Answer    string        `json:"answer,omitempty"`
	Tries     int           `json:"tries,omitempty"`
	Failed    []jsonFailure `json:"failed,omitempty"` // who was asked in vain
	LatencyMS float64       `json:"latency_ms"`
	Error     string        `json:"error,omitempty"`
}

type jsonFailure struct {
	Addr  string `json:"addr"`
	Error string `json:"error"`
}

type jsonSummary struct {
	Requests int            `json:"requests"`
	Failures int            `json:"failures"`
	Servers  map[string]int `json:"servers"`
	P50MS    *float64       `json:"p50_ms"` // null if nothing was answered
	P99MS    *float64       `json:"p99_ms"`
}

func (r *report) answered(k int, start time.Time, a timesvc.Answer) {
	r.requests++
	r.servers[a.Addr]++
	r.latencies = append(r.latencies, a.Latency)
	if r.json {
		r.object(request(k, start, a))
	} else {
		fmt.Fprintf(r.out, "connect host: %s\n%s\n", a.Addr, a.Text)
	}
	r.flush()
}

func (r *report) failed(k int, start time.Time, a timesvc.Answer, err error) {
	r.requests++
	r.failures++
	if r.json {
		req := request(k, start, a)
		req.Error = err.Error()
		r.object(req)
	}
	r.flush()
}

func request(k int, start time.Time, a timesvc.Answer) jsonRequest {
	var failed []jsonFailure
	for _, f := range a.Failed {
		failed = append(failed, jsonFailure{f.Addr, f.Err.Error()})
	}
	return jsonRequest{Request: k, Start: start, Addr: a.Addr, Answer: a.Text, Tries: a.Tries, Failed: failed, LatencyMS: ms(a.Latency)}
}

// summary writes the end of the report, and returns the first error that
// writing any of it has met.
func (r *report) summary() error {
	slices.Sort(r.latencies)
	p50, p99 := percentile(r.latencies, 50), percentile(r.latencies, 99)
	if r.json {
		s := jsonSummary{Requests: r.requests, Failures: r.failures, Servers: r.servers}
		if len(r.latencies) > 0 {
			a, b := ms(p50), ms(p99)
			s.P50MS, s.P99MS = &a, &b
		}
		r.object(map[string]jsonSummary{"summary": s})
	} else {
		fmt.Fprintf(r.out, "requests: %d, failures: %d\n", r.requests, r.failures)
		r.histogram()
		if len(r.latencies) > 0 {
			fmt.Fprintf(r.out, "latency: p50 %v, p99 %v\n", p50.Round(time.Microsecond), p99.Round(time.Microsecond))
		}
	}
	r.flush()
	if r.err != nil {
		return fmt.Errorf("writing the output: %w", r.err)
	}
	return nil
}

// histogramWidth is how long the bar of a server is that has given all answers.
const histogramWidth = 40

// histogram shows how many answers each server gave, and which share of all that is.
func (r *report) histogram() {
	addrs := slices.Sorted(maps.Keys(r.servers))
	var name, number int
	for _, addr := range addrs {
		name, number = max(name, len(addr)), max(number, len(strconv.Itoa(r.servers[addr])))
	}
	for _, addr := range addrs {
		n := r.servers[addr]
		share := float64(n) / float64(len(r.latencies))
		line := fmt.Sprintf("answers by %-*s %*d %5.1f%% %s", name+1, addr+":", number, n, 100*share,
			strings.Repeat("#", int(math.Round(histogramWidth*share))))
		fmt.Fprintln(r.out, strings.TrimRight(line, " "))
	}
}

func (r *report) object(v any) {
	b, err := json.Marshal(v)
	r.err = cmp.Or(r.err, err)
	r.out.Write(append(b, '\n'))
}

// flush shows each request when it is done. A writer that has failed once fails
// for good, so that the first error is not lost.
func (r *report) flush() { r.err = cmp.Or(r.err, r.out.Flush()) }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// percentile returns the smallest of sorted that is not exceeded by p percent
// of them (nearest rank), or 0 if there are none.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(p/100*float64(len(sorted))))-1)]
}
