package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// spawn starts a command and hands signals on to it.
type spawn struct {
	app    *app
	argv   []string
	asRoot bool
	output io.Writer // for what it prints; nil: our own streams
	quiet  bool      // say nothing of the user that it runs as
	// variables are added to the command's environment.
	variables map[string]string

	cmd     *exec.Cmd
	signals chan os.Signal
	ending  chan bool
}

func (s *spawn) pid() int { return s.cmd.Process.Pid }

// start runs the command as the user who called, in a process group of its
// own: signals of the terminal reach it through us alone, once.
func (s *spawn) start() error {
	a := s.app
	s.cmd = exec.Command(s.argv[0], s.argv[1:]...)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = a.stdin, a.stdout, a.stderr
	if s.output != nil {
		s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = nil, s.output, s.output
	}
	s.cmd.Env = a.env.list()
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.WaitDelay = time.Second // for streams that are no files
	underSudo, err := s.become()
	if err != nil {
		return err
	}
	for name, value := range s.variables {
		s.cmd.Env = append(s.cmd.Env, name+"="+value)
	}
	s.signals, s.ending = make(chan os.Signal, 4), make(chan bool, 4)
	signal.Notify(s.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if err := s.cmd.Start(); err != nil {
		signal.Stop(s.signals)
		return s.startFailure(err, underSudo)
	}
	return nil
}

// become sets the user that the command runs as: under sudo, who called it.
func (s *spawn) become() (underSudo bool, err error) {
	a := s.app
	uid, gid, underSudo := s.caller()
	if !underSudo {
		return false, nil
	}
	if s.asRoot || uid == 0 {
		return true, nil
	}
	cred := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	name, home := a.env.get("SUDO_USER"), ""
	if u, err := user.LookupId(strconv.FormatUint(uid, 10)); err == nil {
		name, home = u.Username, u.HomeDir
		cred.Groups = groups(u)
	}
	s.cmd.SysProcAttr.Credential = cred
	s.cmd.Env = userEnvironment(a.env, name, home)
	if !s.quiet {
		fmt.Fprintf(a.stderr, "pmtrace: running the command as %s; sudo has cleared the environment: run pmtrace without sudo to keep it\n", orDash(name))
	}
	return true, nil
}

// caller is who called sudo.
func (s *spawn) caller() (uid, gid uint64, underSudo bool) {
	a := s.app
	uid, uerr := strconv.ParseUint(a.env.get("SUDO_UID"), 10, 32)
	gid, gerr := strconv.ParseUint(a.env.get("SUDO_GID"), 10, 32)
	return uid, gid, a.world.euid == 0 && uerr == nil && gerr == nil
}

// user is whom the command runs as.
func (s *spawn) user() (uid, gid int) {
	u, g, underSudo := s.caller()
	if !underSudo || s.asRoot || u == 0 {
		return os.Geteuid(), os.Getegid()
	}
	return int(u), int(g)
}

func groups(u *user.User) []uint32 {
	ids, err := u.GroupIds()
	if err != nil {
		return nil
	}
	var out []uint32
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			out = append(out, uint32(n))
		}
	}
	return out
}

// userEnvironment is the environment without sudo's traces.
func userEnvironment(env environment, name, home string) []string {
	e := environment{}
	for k, v := range env {
		if !strings.HasPrefix(k, "SUDO_") {
			e[k] = v
		}
	}
	if name != "" {
		e["USER"], e["LOGNAME"] = name, name
	}
	if home != "" {
		e["HOME"] = home
	}
	return e.list()
}

func (s *spawn) startFailure(err error, underSudo bool) error {
	f := &failure{code: exitNotExecutable, what: "cannot run " + s.argv[0], why: rootCause(err).Error()}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		f.code, f.why = exitNotFound, "no such command"
		if underSudo {
			f.remedy = "sudo has replaced PATH: run pmtrace record without sudo, it calls sudo itself"
		}
	}
	return f
}

// wait hands signals on until the command ends and returns its code. The first
// of a kind is handed on as it is, whatever comes after it kills.
func (s *spawn) wait() int {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.cmd.Wait() // ProcessState has the code
	}()
	defer signal.Stop(s.signals)
	// Its own group; where it is gone already there is nobody to tell.
	tell := func(n syscall.Signal) { _ = syscall.Kill(-s.pid(), n) }
	for sent := false; ; {
		select {
		case <-ended:
			return codeOf(s.cmd.ProcessState)
		case kill := <-s.ending:
			switch {
			case kill:
				tell(syscall.SIGKILL)
			case !sent:
				tell(syscall.SIGINT)
			}
		case sig := <-s.signals:
			n, _ := sig.(syscall.Signal)
			if sent {
				n = syscall.SIGKILL
			}
			sent = true
			tell(n)
		}
	}
}

// end asks the command to end, unless a signal did, or kills it. wait does it.
func (s *spawn) end(kill bool) {
	select {
	case s.ending <- kill:
	default: // enough are under way
	}
}

func codeOf(p *os.ProcessState) int {
	if p == nil {
		return exitFailed
	}
	if w, ok := p.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return exitSignal + int(w.Signal())
	}
	return p.ExitCode()
}

// untraced runs the command and nothing else.
func (s *spawn) untraced() error {
	fmt.Fprintln(s.app.stderr, "pmtrace: VLLM_ENABLE_PROFILING=0: running the command untraced")
	if err := s.start(); err != nil {
		return err
	}
	if code := s.wait(); code != 0 {
		return exitCode(code)
	}
	return nil
}
