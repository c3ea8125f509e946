package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	os.Exit(run(os.Stdout, os.Stderr, os.Args[1:]))
}

// run returns the exit code: 1 where something differs, 2 where nothing could
// be compared.
func run(stdout, stderr io.Writer, args []string) int {
	in, err := read(stderr, args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "truth:", err)
		return 2
	}
	table := compare(in)
	table.print(stdout)
	if in.summary != "" {
		if err := summarise(in.name, &in.session, table).appendTo(in.summary); err != nil {
			fmt.Fprintln(stderr, "truth:", err)
			return 2
		}
	}
	if table.mismatches() > 0 {
		return 1
	}
	return 0
}

// input is all that is compared.
type input struct {
	session session
	log     []iteration
	hasLog  bool
	clients []client
	metrics metrics // nil: not given
	midload bool
	cut     bool
	killed  bool
	lossy   bool
	fresh   bool
	async   bool
	engines int    // that there must be; 0: one
	summary string // file that a line of JSON is added to
	name    string // of the comparison, in it
}

// files may be given several times.
type files []string

func (f *files) String() string     { return fmt.Sprint(*f) }
func (f *files) Set(v string) error { *f = append(*f, v); return nil }

func read(stderr io.Writer, args []string) (*input, error) {
	in := &input{}
	flags := flag.NewFlagSet("truth", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("session", "", "the session's `directory`")
	log := flags.String("log", "", "the server's log")
	from := flags.Int64("log-from", 0, "`bytes` of the log that are from before")
	var load files
	flags.Var(&load, "load", "what the clients got; may be given again")
	before := flags.String("before", "", "scrape of /metrics from before the load")
	after := flags.String("after", "", "scrape of /metrics from after it")
	flags.BoolVar(&in.midload, "midload", false, "requests ran when tracing began")
	flags.BoolVar(&in.cut, "cut", false, "requests ran when tracing ended")
	flags.BoolVar(&in.killed, "killed", false, "the server was killed under load, so that its word may lack the last step; implies --cut")
	flags.BoolVar(&in.lossy, "lossy", false, "events were lost: what is there must be right or null")
	flags.BoolVar(&in.fresh, "fresh", false, "no block was handed out before tracing began")
	flags.BoolVar(&in.async, "async", false, "the scheduler must be an asynchronous one")
	flags.IntVar(&in.engines, "engines", 0, "that the server has (data parallel)")
	flags.StringVar(&in.summary, "summary", "", "add a line of JSON to this `file`")
	flags.StringVar(&in.name, "name", "", "of the comparison, in the summary")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	in.cut = in.cut || in.killed
	if *dir == "" || flags.NArg() > 0 {
		return nil, errors.New("give --session DIR, and flags only; see --help")
	}
	if (*before == "") != (*after == "") {
		return nil, errors.New("give --before and --after together")
	}
	if *before != "" && (in.midload || in.cut) {
		return nil, errors.New("/metrics can be compared only where the server was idle at both ends")
	}
	var err error
	if in.session, err = readSession(*dir); err != nil {
		return nil, err
	}
	if *log != "" {
		in.hasLog = true
		if in.log, err = readFile(*log, func(r io.Reader) ([]iteration, error) { return readLog(r, *from) }); err != nil {
			return nil, err
		}
	}
	for _, name := range load {
		clients, err := readFile(name, readClients)
		if err != nil {
			return nil, err
		}
		in.clients = append(in.clients, clients...)
	}
	if *before != "" {
		if in.metrics, err = readMetrics(*before, *after); err != nil {
			return nil, err
		}
	}
	return in, nil
}

func readFile[T any](name string, parse func(io.Reader) (T, error)) (T, error) {
	f, err := os.Open(name)
	if err != nil {
		return *new(T), err
	}
	defer f.Close()
	v, err := parse(f)
	if err != nil {
		return v, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

// compare makes all comparisons that the input allows.
func compare(in *input) *table {
	if in.lossy {
		return compareLossy(in)
	}
	t := &table{}
	ix := newIndex(&in.session)
	if len(in.clients) > 0 {
		checkClients(t, in, ix)
	}
	if in.metrics != nil {
		checkMetrics(t, in, ix)
	}
	compareEngines(t, in, ix)
	checkLosses(t, in)
	return t
}
