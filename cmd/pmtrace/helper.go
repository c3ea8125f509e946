package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pmtrace/pmtrace/probes/check"
)

// record without privileges has a privileged half: `sudo pmtrace follow`. They
// speak JSON lines over its stdin and stdout, since sudo closes other files.
//
//	follow → {"ready":true}                 all that is needed is there
//	record → {"pid":123}                    the command was started
//	follow → {"begun":true,"session":…}     its first engine is traced
//	follow → {"session":…,"lost":0,"code":0}  the trace has ended
//
// The end of stdin ends the trace. What goes wrong follow says on stderr.
type followLine struct {
	Ready   bool   `json:"ready,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Begun   bool   `json:"begun,omitempty"`
	Session string `json:"session,omitempty"`
	Lost    uint64 `json:"lost,omitempty"`
	Code    int    `json:"code,omitempty"`
}

// helper is that half seen from record.
type helper struct {
	app   *app
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *json.Decoder
	begun func(path string) // as in traceOptions
}

func (a *app) startHelper(o *traceOptions) (watcher, error) {
	grant := "run it as root, or give the binary its capabilities once: sudo setcap " + check.FileCapabilities() + " pmtrace"
	sudo, err := exec.LookPath("sudo")
	if err != nil {
		return nil, impossible("cannot trace here", "this user may not, and there is no sudo", grant)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, failed("cannot find pmtrace's own binary", err, "")
	}
	h := &helper{app: a, begun: o.begun}
	h.cmd = exec.Command(sudo, append([]string{"--", self, "follow"}, o.arguments()...)...)
	h.cmd.Stderr = a.stderr
	h.cmd.Env = a.env.list()
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return nil, failed("cannot start sudo", err, "")
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, failed("cannot start sudo", err, "")
	}
	h.out = json.NewDecoder(bufio.NewReader(out))
	if err := h.cmd.Start(); err != nil {
		return nil, impossible("cannot trace here", rootCause(err).Error(), grant)
	}
	var l followLine
	if err := h.out.Decode(&l); err == nil && l.Ready {
		return h, nil
	}
	h.in.Close()
	_ = h.cmd.Wait()
	return nil, h.refusal(l, grant)
}

// refusal is why there is no privileged half: it said so itself, or sudo did.
func (h *helper) refusal(l followLine, grant string) error {
	if l.Code != 0 {
		return exitCode(l.Code)
	}
	return impossible("cannot trace here", "sudo did not let pmtrace have its privileges", grant)
}

func (h *helper) trace(_ context.Context, pid int) result {
	lost := func(err error) result {
		return result{err: failed("pmtrace's privileged half ended early", err, "")}
	}
	b, err := json.Marshal(followLine{PID: pid})
	if err != nil {
		return lost(err)
	}
	if _, err := h.in.Write(append(b, '\n')); err != nil {
		return lost(err)
	}
	var l followLine
	for {
		l = followLine{}
		if err := h.out.Decode(&l); err != nil {
			return lost(err)
		}
		if !l.Begun {
			break
		}
		if h.begun != nil {
			h.begun(l.Session)
		}
	}
	r := result{path: l.Session, lost: l.Lost}
	if l.Code != 0 {
		r.err = exitCode(l.Code)
	}
	return r
}

func (h *helper) close() {
	h.in.Close()
	_ = h.cmd.Wait()
}

// followCommand is the other side.
func (a *app) followCommand() *cobra.Command {
	var o traceOptions
	c := &cobra.Command{
		Use: "follow", Hidden: true, Args: cobra.NoArgs,
		Short: "The privileged half of record",
		RunE:  func(c *cobra.Command, _ []string) error { return a.follow(c.Context(), &o) },
	}
	o.flags(c.Flags())
	o.injected.flags(c.Flags())
	c.Flags().Var(&o.cpuWindows, "cpu-windows", "")
	return c
}

func (a *app) follow(ctx context.Context, o *traceOptions) error {
	// The terminal sends its signals to us as well; record's end, and the
	// server's, are what ends us.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Reset(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	say := json.NewEncoder(a.stdout)
	err := o.resolve(a.env)
	if err == nil {
		err = a.preflight(o)
	}
	if err != nil {
		_ = say.Encode(followLine{Code: a.exit(err)})
		return exitCode(codeOfError(err))
	}
	if err := say.Encode(followLine{Ready: true}); err != nil {
		return failed("cannot speak to pmtrace record", err, "")
	}
	in := json.NewDecoder(a.stdin)
	var l followLine
	if err := in.Decode(&l); err != nil || l.PID <= 0 {
		return exitCode(exitFailed) // the command could not be started
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, a.stdin) // ends with record, or with us
		cancel(errInterrupted)
	}()
	o.begun = func(path string) { _ = say.Encode(followLine{Begun: true, Session: path}) } // where nobody reads, the trace ends soon
	r := a.traceTree(ctx, o, l.PID)
	reply := followLine{Session: r.path, Lost: r.lost}
	if r.err != nil {
		reply.Code = a.exit(r.err)
	}
	if err := say.Encode(reply); err != nil {
		return failed("cannot speak to pmtrace record", err, "")
	}
	return nil
}

func codeOfError(err error) int {
	var f *failure
	if errors.As(err, &f) {
		return f.code
	}
	return exitFailed
}
