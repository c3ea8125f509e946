package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/pmtrace/pmtrace/cupti/gpu"
	"github.com/pmtrace/pmtrace/output/session"
)

// traceOptions are those of attach and record.
type traceOptions struct {
	outputDir   string
	duration    seconds
	profilers   []string
	noProfilers []string
	logInterval uint
	verbose     bool
	force       bool
	strict      bool
	noCSV       bool
	ringSize    size
	cudaCalls   []string // recorded one by one
	breakpoints string
	gpuSampling string
	gpuInterval seconds
	hooks       hookOptions
	moe         string // auto, on, off
	cpuWindows  windows
	monitorOptions
	rotate seconds
	ship   shipOptions

	on    []string // profilers, when resolved
	place string   // where sessions go, when resolved
	// begun is called with the session's path once the first engine is traced; may be nil.
	begun func(path string)

	injected injected // record's library in the server
	starts   bool     // a program as the caller, while it traces: profile's load
}

// Values of --breakpoints.
const (
	breakpointsThread = "thread"
	breakpointsCPUs   = "cpus"
)

func (o *traceOptions) flags(f *pflag.FlagSet) {
	o.ringSize = 8 << 20
	o.gpuInterval = seconds(500 * time.Millisecond)
	o.cpuWindows = always()
	f.StringVar(&o.outputDir, "output-dir", "", "directory for sessions (default "+session.DefaultPlace+")")
	f.Var(&o.duration, "duration", "end tracing after this time: 30s, 5m (default: when the server ends, or Ctrl-C)")
	f.StringSliceVar(&o.profilers, "profilers", nil, "only these: "+strings.Join(profilersHere(), ","))
	f.StringSliceVar(&o.noProfilers, "no-profilers", nil, "all but these")
	f.StringSliceVar(&o.cudaCalls, "cuda-calls", nil, "record each of these calls: "+strings.Join(cudaCalls(), ",")+" (graph launches and collectives are recorded always)")
	f.BoolFunc("launches", "short for --cuda-calls=launches", func(string) error {
		o.cudaCalls = append(o.cudaCalls, callLaunches)
		return nil
	})
	f.StringVar(&o.breakpoints, "breakpoints", breakpointsThread, "watch the scheduler by hardware breakpoints of its "+breakpointsThread+", or of all "+breakpointsCPUs+", which cost less in a virtual machine and are then nobody else's")
	f.StringVar(&o.gpuSampling, "gpu-sampling", samplingOff, "sample the GPU's hardware counters: "+strings.Join(samplingModes(), ", ")+"; takes the device's one counter session")
	f.Var(&o.gpuInterval, "gpu-interval", "time between samples of power, clocks and utilisation, at least "+gpu.Interval.String())
	f.StringVar(&o.moe, "moe", moeAuto, "tell which experts each token chose: auto, where the server itself copies that to the host (--enable-return-routed-experts); on, and record by a small kernel behind each routing kernel; off")
	o.hooks.flags(f)
	f.UintVar(&o.logInterval, "log-interval", 1000, "steps between status lines where stderr is no terminal; 0: none")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show pmtrace's own log, and log more")
	f.BoolVar(&o.force, "force", false, "go on although it does not look like vLLM, or its versions are unknown")
	f.BoolVar(&o.strict, "strict", false, "exit with 4 if events were lost")
	f.BoolVar(&o.noCSV, "no-csv", false, "write Parquet only")
	f.Var(&o.ringSize, "ring-size", "bytes of the ring buffer between kernel and pmtrace, a power of two")
	o.monitorOptions.flags(f)
	f.Var(&o.rotate, "rotate", "complete the Parquet parts this often (default with --ship-to: 10m; else a part has 1,048,576 rows)")
	o.ship.flags(f)
}

// Values of --moe.
const (
	moeAuto = "auto"
	moeOn   = "on"
	moeOff  = "off"
)

func (o *traceOptions) resolve(env environment) error {
	if !slices.Contains([]string{moeAuto, moeOn, moeOff}, o.moe) {
		return usage("--moe: %q is not one of auto, on, off", o.moe)
	}
	var err error
	o.on, err = chooseProfilers(o.profilers, o.noProfilers)
	o.place = session.Place(o.outputDir, env.get)
	if err == nil {
		err = o.resolveGPU()
	}
	if err == nil && o.breakpoints != breakpointsThread && o.breakpoints != breakpointsCPUs {
		err = usage("--breakpoints: %q is not one of %s, %s", o.breakpoints, breakpointsThread, breakpointsCPUs)
	}
	if err == nil {
		err = o.hooks.resolve(o.on)
	}
	if err == nil {
		err = o.monitorOptions.resolve()
	}
	if err == nil {
		err = o.ship.resolve(env)
	}
	if o.rotate == 0 && o.ship.store != nil {
		o.rotate = seconds(rotateEvery)
	}
	return err
}

func (o *traceOptions) resolveGPU() error {
	slices.Sort(o.cudaCalls)
	o.cudaCalls = slices.Compact(o.cudaCalls)
	for _, c := range o.cudaCalls {
		if !slices.Contains(cudaCalls(), c) {
			return usage("--cuda-calls: no calls are named %q: there are %s", c, strings.Join(cudaCalls(), ", "))
		}
	}
	if !slices.Contains(samplingModes(), o.gpuSampling) {
		return usage("--gpu-sampling: %q is not one of %s", o.gpuSampling, strings.Join(samplingModes(), ", "))
	}
	if time.Duration(o.gpuInterval) < gpu.Interval {
		return usage("--gpu-interval: the driver's averages are no finer than 100ms, and a timer needs some room: at least %v", gpu.Interval)
	}
	return nil
}

// arguments are the flags that say the same again to another pmtrace, which
// does not see our environment.
func (o *traceOptions) arguments() []string {
	args := []string{
		"--output-dir=" + o.place,
		"--profilers=" + strings.Join(o.on, ","),
		"--log-interval=" + strconv.FormatUint(uint64(o.logInterval), 10),
		"--ring-size=" + o.ringSize.String(),
		"--moe=" + o.moe,
		"--breakpoints=" + o.breakpoints,
		"--cpu-windows=" + o.cpuWindows.String(),
	}
	if len(o.cudaCalls) > 0 {
		args = append(args, "--cuda-calls="+strings.Join(o.cudaCalls, ","))
	}
	args = append(args, "--gpu-sampling="+o.gpuSampling, "--gpu-interval="+o.gpuInterval.String())
	args = append(args, o.monitorOptions.arguments()...)
	args = append(args, o.injected.arguments()...)
	args = append(args, o.hooks.arguments()...)
	if o.rotate > 0 {
		args = append(args, "--rotate="+o.rotate.String())
	}
	if o.duration > 0 {
		args = append(args, "--duration="+o.duration.String())
	}
	for _, b := range []struct {
		on   bool
		flag string
	}{{o.verbose, "--verbose"}, {o.force, "--force"}, {o.strict, "--strict"}, {o.noCSV, "--no-csv"}} {
		if b.on {
			args = append(args, b.flag)
		}
	}
	return args
}

// seconds is a duration that may be a plain number of seconds.
type seconds time.Duration

func (s *seconds) Set(v string) error {
	d, err := time.ParseDuration(v)
	if err != nil {
		n, nerr := strconv.ParseFloat(v, 64)
		if nerr != nil || n > 1e9 {
			return errors.New("want a time such as 30s, 5m or 1h30m")
		}
		d = time.Duration(n * float64(time.Second))
	}
	if d <= 0 {
		return errors.New("want a time above 0")
	}
	*s = seconds(d)
	return nil
}

func (s *seconds) Type() string { return "time" }

func (s *seconds) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

// size is a number of bytes: 65536, 64k, 8MiB.
type size int

func (s *size) Set(v string) error {
	number := strings.TrimRight(strings.ToLower(v), "kmgib")
	unit := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(v)[len(number):], "b"), "i")
	shift, ok := map[string]uint{"": 0, "k": 10, "m": 20, "g": 30}[unit]
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || !ok {
		return errors.New("want a size such as 8MiB")
	}
	n <<= shift
	if n < 4096 || n > 1<<30 || n&(n-1) != 0 {
		return errors.New("want a power of two from 4KiB to 1GiB")
	}
	*s = size(n)
	return nil
}

func (s *size) Type() string { return "size" }

func (s *size) String() string {
	switch n := *s; {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%dKiB", n>>10)
	default:
		return strconv.Itoa(int(n))
	}
}
