package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/pmtrace/pmtrace/output/live"
	"github.com/pmtrace/pmtrace/output/otlp"
	"github.com/pmtrace/pmtrace/output/prometheus"
)

// monitorOptions say whom a trace tells of what goes on.
type monitorOptions struct {
	prometheus string // address to listen on
	otlp       string // URL
	otlpSteps  bool
	endpoint   otlp.Endpoint
}

func (o *monitorOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.prometheus, "prometheus", "", "serve metrics at this `address`, /metrics: :9464 is loopback alone, 0.0.0.0:9464 all interfaces")
	f.StringVar(&o.otlp, "otlp", "", "send metrics, and requests as traces, to this OpenTelemetry `endpoint`: grpc://HOST:4317 or http://HOST:4318")
	f.BoolVar(&o.otlpSteps, "otlp-steps", false, "with --otlp: send each step as a trace, too")
}

func (o *monitorOptions) resolve() error {
	if o.prometheus != "" {
		address, err := listenAddress(o.prometheus)
		if err != nil {
			return usage("--prometheus %q: %v", o.prometheus, err)
		}
		o.prometheus = address
	}
	if o.otlp == "" && o.otlpSteps {
		return usage("--otlp-steps: where to? --otlp names the endpoint")
	}
	if o.otlp != "" {
		var err error
		if o.endpoint, err = otlp.ParseEndpoint(o.otlp); err != nil {
			return usage("--otlp: %v", err)
		}
	}
	return nil
}

// listenAddress is loopback where no host is named: the metrics are not for everyone.
func listenAddress(s string) (string, error) {
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		s = ":" + s
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", errors.New("want an address such as :9464 or 0.0.0.0:9464")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", errors.New("want a port from 0 to 65535")
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// check reports early, before a server is started, that the address is taken.
func (o *monitorOptions) check() error {
	if o.prometheus == "" {
		return nil
	}
	l, err := net.Listen("tcp", o.prometheus)
	if err != nil {
		return cannotListen(o.prometheus, err)
	}
	return l.Close()
}

func cannotListen(address string, err error) error {
	return failed("--prometheus: cannot listen on "+address, rootCause(err), "choose another address")
}

func (o *monitorOptions) arguments() (args []string) {
	if o.prometheus != "" {
		args = append(args, "--prometheus="+o.prometheus)
	}
	if o.otlp != "" {
		args = append(args, "--otlp="+o.otlp)
	}
	if o.otlpSteps {
		args = append(args, "--otlp-steps")
	}
	return args
}

// monitor tells others what a trace shows while it goes on. Nothing that they do, or do
// not, holds it up. nil tells nobody.
type monitor struct {
	log    *slog.Logger
	totals *live.Totals
	otlp   *otlp.Exporter
	server *http.Server
	served chan error
	mono   func() int64
	began  int64 // of the trace
	rested bool
	say    func(format string, args ...any)
}

func newMonitor(t *trace) (*monitor, error) {
	o := &t.opts.monitorOptions
	if o.prometheus == "" && o.otlp == "" {
		return nil, nil
	}
	m := &monitor{log: t.log, mono: t.app.world.monotonic, totals: live.NewTotals()}
	m.say = func(format string, args ...any) {
		t.status.done()
		fmt.Fprintf(t.app.stderr, "pmtrace: "+format+"\n", args...)
	}
	if o.prometheus != "" {
		if err := m.serve(o.prometheus); err != nil {
			return nil, err
		}
	}
	if o.otlp != "" {
		if err := m.send(o, t.app.world.now); err != nil {
			m.close()
			return nil, err
		}
	}
	return m, nil
}

// serve answers Prometheus' scrapes.
func (m *monitor) serve(address string) error {
	handler, err := prometheus.Handler(m.totals.Snapshot)
	if err != nil {
		return failed("--prometheus", err, "")
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return cannotListen(address, err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", handler)
	m.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 64 << 10}
	m.served = make(chan error, 1)
	go func() { m.served <- m.server.Serve(l) }()
	m.say("metrics at http://%s/metrics", l.Addr())
	return nil
}

// send begins to send to an OpenTelemetry endpoint.
func (m *monitor) send(o *monitorOptions, now func() time.Time) error {
	to := o.endpoint
	report := func(err error) {
		if err == nil {
			m.say("%s takes metrics and requests again", to)
			return
		}
		m.log.Warn("otlp", "error", err)
		m.say("cannot send to %s: %s; tracing goes on, and what cannot be sent is counted", to, oneLine(err))
	}
	var err error
	m.otlp, err = otlp.Start(otlp.Options{Endpoint: to, Steps: o.otlpSteps, Snapshot: m.totals.Snapshot, Now: now, Report: report})
	if err != nil {
		return failed("--otlp: cannot send to "+to.String(), rootCause(err), "")
	}
	m.say("metrics and requests go to %s", to)
	return nil
}

// listeners are given the trace's rows.
func (m *monitor) listeners() []listener {
	if m == nil {
		return nil
	}
	m.began = m.mono()
	list := []listener{m.totals}
	if m.otlp != nil {
		list = append(list, m.otlp.Listener())
	}
	return list
}

// second is told each second how the trace goes.
func (m *monitor) second(l progress) {
	if m == nil {
		return
	}
	s := live.State{DurationNS: m.mono() - m.began, DelayNS: l.delayNS, Lost: int64(l.lost)}
	if m.otlp != nil {
		s.Exports = m.otlp.Stats()
	}
	m.totals.SetState(&s)
}

// dropped says what could not be sent; "" if nothing.
func (m *monitor) dropped() string {
	if m == nil || m.otlp == nil {
		return ""
	}
	var parts []string
	for _, e := range m.otlp.Stats() {
		if e.Dropped > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", e.Dropped, e.Signal))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, " and ") + " not sent"
}

// restPatience is how long the end of a trace waits for an endpoint.
const restPatience = 5 * time.Second

// rest sends what is left, when all rows have come.
func (m *monitor) rest() {
	if m == nil || m.otlp == nil || m.rested {
		return
	}
	m.rested = true
	ctx, cancel := context.WithTimeout(context.Background(), restPatience)
	defer cancel()
	if err := m.otlp.Close(ctx); err != nil {
		m.log.Warn("otlp", "error", err)
	}
	var parts []string
	for _, e := range m.otlp.Stats() {
		parts = append(parts, fmt.Sprintf("%d %s (%d dropped)", e.Sent, e.Signal, e.Dropped))
	}
	m.say("sent by OTLP: %s", strings.Join(parts, ", "))
}

// close ends what was begun, however the trace has ended.
func (m *monitor) close() {
	if m == nil {
		return
	}
	m.rest()
	if m.server == nil {
		return
	}
	m.server.Close()
	if err := <-m.served; !errors.Is(err, http.ErrServerClosed) {
		m.log.Warn("prometheus", "error", err)
	}
	m.server = nil
}
