package join

// What a time that was taken on the host is off by, in ns: measured against CUPTI on
// an H200 in a virtual machine (vLLM 0.33.0, 1B and 8B Llama, Qwen3-MoE; e2e/gpu).
// Change them here only.
const (
	// waitedNS: a wait that took longer found the GPU still at work. A wait on an
	// event that is complete takes 7 to 13 µs, probes included, and up to 25 µs in one
	// case of a hundred.
	waitedNS = 60_000
	// wakeUpNS is how late a wait returns after the event is complete: an interrupt
	// and the wake-up of the thread (vLLM's events are of the blocking kind). Half of
	// the waits are 140 µs late, one of a hundred less than 90 µs; latestWakeUpNS is
	// passed by one of a hundred.
	wakeUpNS       = 120_000
	latestWakeUpNS = 400_000
	// launchNS is how long after the call a launch on an idle GPU begins to run: half
	// of them within 60 to 90 µs, none within 25 µs, and one of a hundred later than
	// latestLaunchNS.
	launchNS       = 60_000
	latestLaunchNS = 400_000
	// prepareNS is what a busy GPU still has to do after the step before is complete
	// and before the model's first kernel: the copies and small kernels of
	// preparing inputs. Half of the steps take less than that, nearly none more than
	// longestPrepareNS.
	prepareNS        = 35_000
	longestPrepareNS = 185_000
	// enoughLearned is how many steps with a graph tell how long one usually takes.
	enoughLearned = 8
	// begunNS is after how long what was launched on an idle GPU has begun, nearly
	// always.
	begunNS = 100_000
	// copyTailNS: the output event is complete some time after the last kernel, since
	// the copy of the results to the host comes between, and copies keep no SM busy.
	copyTailNS = 15_000
	// behindDecodeNS, behindOthersNS: what a step launches behind the copy of its results
	// (the runners' own bookkeeping) takes no longer: up to 30 and 125 µs were seen behind
	// FULL graphs and in steps with prompts (vLLM 0.33, V2 runner, 1B model, H100).
	behindDecodeNS = 50_000
	behindOthersNS = 200_000
	// copyDoneNS is how long after a copy the event behind it is complete at most.
	copyDoneNS = 5_000
	// sameCallNS: the probe of a call is at most so long before CUPTI's word of it.
	sameCallNS = 50_000_000
	// lastWordsNS is how much later than CUPTI's events the probes' may be read.
	lastWordsNS = 1_000_000_000
	// routingSlackNS: a routing kernel ran at most so long before the call that launched
	// it, and after its step was done, by clocks that differ.
	routingSlackNS = 200_000
	// aloneNS is after how long a launch on an idle GPU has begun to run, or never will.
	aloneNS = 20_000_000
)

// busyPct is the share of active cycles from which a sample counts as busy: the
// counters of an idle GPU are not quite 0.
const busyPct = 1.0

// holdNS is for how long, by the times of events, rows wait for what comes later:
// the name of a graph (read at most once a second), samples of counters (handed
// on once a second), the return of the wait on an output event.
const holdNS = 3_000_000_000

// maxEagerPadding is how many rows more than tokens a pass of few tokens has at most where
// no graph ran: sequence parallelism pads to a multiple of the ranks, and some versions to
// the next graph's size although none fits. Of many tokens it may be as many again.
const maxEagerPadding = 64

// Bounds of what waits. Beyond them the oldest goes on with what is known.
const (
	maxHeldSteps    = 8192
	maxHeldRows     = 1 << 18 // requests of held steps
	maxHeldLaunches = 1 << 17
	maxHeldCalls    = 1 << 16 // of a worker whose step is not matched yet
	maxRuns         = 1024    // steps of a worker in another process
	maxRunLaunches  = 4096    // graph launches of a step
	maxRunPhases    = 64      // (thread, phase) of a step
	maxThreads      = 2048    // of a worker; as in bpf/calls.h
	maxGraphs       = 1 << 17 // live at a time
	maxCaptures     = 4096    // captured and not instantiated
	maxFollowed     = 4096    // steps that know the next one: those that CUPTI may yet tell of
	maxOutputs      = 4096    // events recorded and not waited on
	maxSamples      = 1 << 18 // of a device's counters: 5 s at 20 µs
	maxClocks       = 64
	maxUnpaired     = 1 << 14 // launches without CUPTI's word, and its words without a launch
	maxGraphCalls   = 1 << 14
	maxEarly        = 1 << 15 // replays without a launch
	maxRecent       = 1 << 15 // launches whose numbers are known
	maxParts        = 4096    // replays whose kernels are coming
	maxHeldWork     = 1 << 18 // kernels and copies without a launch
	maxResults      = 64      // copies to the host of a step
	maxNames        = 1 << 15 // of kernels, of a process
	maxWindows      = 64      // whose kernels are coming
	maxCallWindows  = 8       // of a worker; a step is over long before there are more
	maxEarlyRuns    = 1 << 14 // of routing kernels, whose engine is not known yet
	maxPasses       = 4096    // without a step
	maxHeldChoices  = 1 << 27 // bytes of both
	maxRunBytes     = 1 << 26 // of one of these runs
	maxRoutedSteps  = 8192    // without a pass
	maxMoELayers    = 4096
	maxExperts      = 4096    // of a layer
	maxExpertPairs  = 1 << 25 // of an engine's layers
)
