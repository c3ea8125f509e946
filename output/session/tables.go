package session

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/parquet-go/parquet-go"

	"github.com/pmtrace/pmtrace/decode/record"
)

// SchemaVersion is the version of the tables, in the metadata of every file.
const SchemaVersion = 1

// Names of the tables, each a directory in parquet/.
const (
	TableProcesses      = "processes"
	TableSteps          = "steps"
	TableStepRequests   = "step_requests"
	TableRequests       = "requests"
	TablePreemptions    = "preemptions"
	TableKVUsage        = "kv_usage"
	TableKVBlocks       = "kv_blocks"
	TableKVEvictions    = "kv_evictions"
	TableCPUOperations  = "cpu_operations"
	TableGraphs         = "graphs"
	TableGraphLaunches  = "graph_launches"
	TableEncoderDecoder = "encoder_decoder"
	TableLaunches       = "launches"
	TableCopies         = "copies"
	TableCollectives    = "collectives"
	TableGPUSamples     = "gpu_samples"
	TableGPUCounters    = "gpu_counters"
	TableKernels        = "kernels"
	TableKernelWindows  = "kernel_windows"
	TableKernelClasses  = "kernel_classes"
	TableMoEActivations = "moe_activations"
	TableMoECoselection = "moe_coselection"
	TableMoEWeights     = "moe_weights"
	TableMoEImbalance   = "moe_imbalance"
	TableHooks          = "hooks"
	TableLosses         = "losses"
)

const (
	// Rows wait in batches of this many; parts and row groups are cut at
	// multiples, except by Cut.
	batchRows = 512
	// A page of a column. Larger ones compress better, but every column of every
	// table has one in memory: tables of many rows and few columns are worth more.
	pageBytes     = 32 << 10
	longPageBytes = 64 << 10
	hotPageBytes  = 128 << 10
	compressBytes = hotPageBytes // zstd's window

	// A row group's pages wait in memory for its end.
	rowsPerGroup = 64 << 10
	rowsPerPart  = 1 << 20
)

// About identifies the session in the metadata of every file.
type About struct {
	SessionID string
	Start     string // RFC 3339
}

// Keys of it there.
const (
	keySessionID    = "session_id"
	keySessionStart = "session_start"
)

// Tables writes the rows of all tables. It is a record.Sink and not safe for
// concurrent use.
//
// Parts appear when they are complete: under a hidden name before. The same
// rows make the same bytes.
type Tables struct {
	processes      *table[record.ProcessRow]
	steps          *table[record.StepRow]
	stepRequests   *table[record.StepRequestRow]
	requests       *table[record.RequestRow]
	preemptions    *table[record.PreemptionRow]
	kvUsage        *table[record.KVUsageRow]
	kvBlocks       *table[record.KVBlockRow]
	kvEvictions    *table[record.KVEvictionRow]
	cpuOperations  *table[record.CPUOperationRow]
	graphs         *table[record.GraphRow]
	graphLaunches  *table[record.GraphLaunchRow]
	encoderDecoder *table[record.EncoderDecoderRow]
	launches       *table[record.LaunchRow]
	copies         *table[record.CopyRow]
	collectives    *table[record.CollectiveRow]
	gpuSamples     *table[record.GPUSampleRow]
	gpuCounters    *table[record.GPUCounterRow]
	kernels        *table[record.KernelRow]
	kernelWindows  *table[record.KernelWindowRow]
	kernelClasses  *table[record.KernelClassRow]
	moeActivations *table[record.MoEActivationRow]
	moeCoselection *table[record.MoECoselectionRow]
	moeWeights     *table[record.MoEWeightRow]
	moeImbalance   *table[record.MoEImbalanceRow]
	hooks          *table[record.HookRow]
	losses         *table[record.LossRow]

	every  []anyTable
	codec  *zstdCodec
	remade *Dir // where the tables take the place of others
}

var _ record.Sink = (*Tables)(nil)

const (
	tablesDir = "parquet"
	remadeDir = ".parquet.tmp"
)

// CreateTables begins the tables of a new session, in parquet/.
func CreateTables(session *Dir, about About) (*Tables, error) {
	return createTables(session, tablesDir, about)
}

// RemakeTables makes tables again beside those that are there. They take their
// place at Close, if all went well.
func RemakeTables(session *Dir, about About) (*Tables, error) {
	if err := session.removeAll(remadeDir); err != nil {
		return nil, err
	}
	t, err := createTables(session, remadeDir, about)
	if err == nil {
		t.remade = session
	}
	return t, err
}

func createTables(session *Dir, name string, about About) (*Tables, error) {
	dir, err := session.Sub(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	codec, err := newCodec(1)
	if err != nil {
		return nil, err
	}
	t := &Tables{codec: codec}
	b := builder{dir, about, codec, pageBytes, t}
	err = errors.Join(
		begin(b, TableProcesses, &t.processes),
		begin(b, TableSteps, &t.steps),
		begin(b.paged(hotPageBytes), TableStepRequests, &t.stepRequests),
		begin(b, TableRequests, &t.requests),
		begin(b, TablePreemptions, &t.preemptions),
		begin(b.paged(longPageBytes), TableKVUsage, &t.kvUsage),
		begin(b.paged(longPageBytes), TableKVBlocks, &t.kvBlocks),
		begin(b.paged(longPageBytes), TableKVEvictions, &t.kvEvictions),
		begin(b.paged(longPageBytes), TableCPUOperations, &t.cpuOperations),
		begin(b, TableGraphs, &t.graphs),
		begin(b, TableGraphLaunches, &t.graphLaunches),
		begin(b, TableEncoderDecoder, &t.encoderDecoder),
		begin(b, TableLaunches, &t.launches),
		begin(b, TableCopies, &t.copies),
		begin(b, TableCollectives, &t.collectives),
		begin(b, TableGPUSamples, &t.gpuSamples),
		begin(b.paged(longPageBytes), TableGPUCounters, &t.gpuCounters),
		begin(b.paged(longPageBytes), TableKernels, &t.kernels),
		begin(b, TableKernelWindows, &t.kernelWindows),
		begin(b, TableKernelClasses, &t.kernelClasses),
		begin(b, TableMoEActivations, &t.moeActivations),
		begin(b, TableMoECoselection, &t.moeCoselection),
		begin(b, TableMoEWeights, &t.moeWeights),
		begin(b, TableMoEImbalance, &t.moeImbalance),
		begin(b, TableHooks, &t.hooks),
		begin(b, TableLosses, &t.losses),
	)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Concurrently has each table written beside the caller, n pages compressed at once: faster
// where there are cores for it, for more memory. It is called before the first row. Where a
// table cannot be written on, one of its later rows tells, or the end.
func (t *Tables) Concurrently(n int) error {
	codec, err := newCodec(n)
	if err != nil {
		return err
	}
	*t.codec = *codec
	for _, table := range t.every {
		table.concurrently()
	}
	return nil
}

func (t *Tables) Process(r *record.ProcessRow) error           { return t.processes.add(r) }
func (t *Tables) Step(r *record.StepRow) error                 { return t.steps.add(r) }
func (t *Tables) StepRequest(r *record.StepRequestRow) error   { return t.stepRequests.add(r) }
func (t *Tables) Request(r *record.RequestRow) error           { return t.requests.add(r) }
func (t *Tables) Preemption(r *record.PreemptionRow) error     { return t.preemptions.add(r) }
func (t *Tables) KVUsage(r *record.KVUsageRow) error           { return t.kvUsage.add(r) }
func (t *Tables) KVBlock(r *record.KVBlockRow) error           { return t.kvBlocks.add(r) }
func (t *Tables) KVEviction(r *record.KVEvictionRow) error     { return t.kvEvictions.add(r) }
func (t *Tables) CPUOperation(r *record.CPUOperationRow) error { return t.cpuOperations.add(r) }
func (t *Tables) Graph(r *record.GraphRow) error               { return t.graphs.add(r) }
func (t *Tables) GraphLaunch(r *record.GraphLaunchRow) error   { return t.graphLaunches.add(r) }
func (t *Tables) EncoderDecoder(r *record.EncoderDecoderRow) error {
	return t.encoderDecoder.add(r)
}
func (t *Tables) Launch(r *record.LaunchRow) error         { return t.launches.add(r) }
func (t *Tables) Copy(r *record.CopyRow) error             { return t.copies.add(r) }
func (t *Tables) Collective(r *record.CollectiveRow) error { return t.collectives.add(r) }
func (t *Tables) GPUSample(r *record.GPUSampleRow) error   { return t.gpuSamples.add(r) }
func (t *Tables) GPUCounter(r *record.GPUCounterRow) error { return t.gpuCounters.add(r) }
func (t *Tables) Kernel(r *record.KernelRow) error         { return t.kernels.add(r) }
func (t *Tables) KernelWindow(r *record.KernelWindowRow) error {
	return t.kernelWindows.add(r)
}
func (t *Tables) KernelClass(r *record.KernelClassRow) error { return t.kernelClasses.add(r) }
func (t *Tables) MoEActivation(r *record.MoEActivationRow) error {
	return t.moeActivations.add(r)
}
func (t *Tables) MoECoselection(r *record.MoECoselectionRow) error {
	return t.moeCoselection.add(r)
}
func (t *Tables) MoEWeight(r *record.MoEWeightRow) error {
	return t.moeWeights.add(r)
}
func (t *Tables) MoEImbalance(r *record.MoEImbalanceRow) error {
	return t.moeImbalance.add(r)
}
func (t *Tables) Hook(r *record.HookRow) error { return t.hooks.add(r) }
func (t *Tables) Loss(r *record.LossRow) error { return t.losses.add(r) }

// anyTable is a table of whatever rows.
type anyTable interface {
	concurrently()
	cut() error
	close() error
}

// Cut completes the part of every table that has rows; the next row begins another.
func (t *Tables) Cut() error {
	var errs []error
	for _, table := range t.every {
		errs = append(errs, table.cut())
	}
	return errors.Join(errs...)
}

// Close completes all tables. A table without rows gets one part with the
// schema alone, so that every table can be queried.
func (t *Tables) Close() error {
	var errs []error
	for _, table := range t.every {
		errs = append(errs, table.close())
	}
	err := errors.Join(errs...)
	if t.remade == nil {
		return err
	}
	if err != nil {
		return errors.Join(err, t.remade.removeAll(remadeDir))
	}
	if err := t.remade.removeAll(tablesDir); err != nil {
		return err
	}
	return t.remade.root.Rename(remadeDir, tablesDir)
}

type builder struct {
	dir   *Dir
	about About
	codec *zstdCodec
	page  int
	into  *Tables
}

func (b builder) paged(bytes int) builder {
	b.page = bytes
	return b
}

func begin[T any](b builder, name string, at **table[T]) error {
	dir, err := b.dir.Sub(name)
	if err != nil {
		return err
	}
	*at = &table[T]{
		name: name, dir: dir, about: b.about, codec: b.codec, page: b.page, partRows: rowsPerPart,
	}
	b.into.every = append(b.into.every, *at)
	return nil
}

// table writes the parts of one table.
type table[T any] struct {
	name     string
	dir      *Dir
	about    About
	codec    *zstdCodec
	page     int // bytes
	partRows int64

	// Both grow with the rows: many tables of a session never have one.
	batch  []T
	writer *parquet.GenericWriter[T] // nil before the first row
	file   *os.File
	part   int
	rows   int64                 // of the part
	failed atomic.Pointer[error] // nothing is written any more

	// Written beside the caller: batches to write, and written ones to fill. While there is
	// one on its way, what is written with is not the caller's.
	beside     bool
	full, free chan []T
	written    sync.WaitGroup
}

// batchesQueued wait for a table that is written beside the caller.
const batchesQueued = 4

func (t *table[T]) concurrently() { t.beside = true }

func (t *table[T]) add(row *T) error {
	if failed := t.failed.Load(); failed != nil {
		return *failed
	}
	t.batch = append(t.batch, *row)
	if len(t.batch) < batchRows {
		return nil
	}
	return t.flush()
}

// flush writes the batch, or has it written.
func (t *table[T]) flush() error {
	if !t.beside {
		err := t.write(t.batch)
		t.batch = t.batch[:0]
		return err
	}
	if t.full == nil {
		t.full, t.free = make(chan []T, batchesQueued), make(chan []T, batchesQueued+1)
		go t.run()
	}
	t.written.Add(1)
	t.full <- t.batch
	select {
	case t.batch = <-t.free:
	default:
		t.batch = make([]T, 0, batchRows)
	}
	return nil
}

func (t *table[T]) run() {
	for batch := range t.full {
		if t.failed.Load() == nil {
			_ = t.write(batch) // failed has it
		}
		t.free <- batch[:0]
		t.written.Done()
	}
}

func (t *table[T]) write(batch []T) error {
	if t.file == nil {
		if err := t.open(); err != nil {
			return t.fail(err)
		}
	}
	if _, err := t.writer.Write(batch); err != nil {
		return t.fail(err)
	}
	t.rows += int64(len(batch))
	clear(batch) // lets go of what the rows point to
	if t.rows >= t.partRows {
		return t.finish()
	}
	return nil
}

func (t *table[T]) fail(err error) error {
	err = fmt.Errorf("table %s: %w", t.name, err)
	t.failed.Store(&err)
	return err
}

// rest writes what waits, and returns why nothing is written any more. From then on the table
// is the caller's.
func (t *table[T]) rest() error {
	if t.failed.Load() == nil && len(t.batch) > 0 {
		_ = t.flush() // failed has it
	}
	t.written.Wait()
	if failed := t.failed.Load(); failed != nil {
		return *failed
	}
	return nil
}

func partName(part int) string { return fmt.Sprintf("part-%05d.parquet", part) }

func hiddenName(part int) string { return "." + partName(part) + ".tmp" }

func (t *table[T]) open() error {
	f, err := t.dir.Create(hiddenName(t.part))
	if err != nil {
		return err
	}
	t.file, t.rows = f, 0
	if t.writer != nil {
		t.writer.Reset(f)
		return nil
	}
	t.writer = parquet.NewGenericWriter[T](f,
		parquet.CreatedBy("pmtrace", strconv.Itoa(SchemaVersion), ""),
		parquet.Compression(t.codec),
		parquet.DefaultEncodingFor(parquet.Int32, &parquet.DeltaBinaryPacked),
		parquet.DefaultEncodingFor(parquet.Int64, &parquet.DeltaBinaryPacked),
		parquet.PageBufferSize(t.page),
		parquet.WriteBufferSize(pageBytes),
		parquet.MaxRowsPerRowGroup(rowsPerGroup),
		parquet.KeyValueMetadata("schema_version", strconv.Itoa(SchemaVersion)),
		parquet.KeyValueMetadata(keySessionID, t.about.SessionID),
		parquet.KeyValueMetadata(keySessionStart, t.about.Start),
	)
	return nil
}

// finish completes the part and gives it its name.
func (t *table[T]) finish() error {
	err := t.writer.Close()
	if cerr := t.file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = t.dir.root.Rename(hiddenName(t.part), partName(t.part))
	}
	t.file = nil
	if err != nil {
		_ = t.dir.Remove(hiddenName(t.part)) // the first error says more
		return t.fail(err)
	}
	t.part++
	return nil
}

func (t *table[T]) cut() error {
	if err := t.rest(); err != nil || t.file == nil {
		return err
	}
	return t.finish()
}

func (t *table[T]) close() error {
	defer t.dir.Close()
	defer func() { t.batch, t.writer = nil, nil }() // the next table's end needs memory, too
	defer func() {
		if t.full != nil {
			close(t.full)
		}
	}()
	err := t.rest()
	if err == nil && t.part == 0 && t.file == nil {
		err = t.write(nil) // one part with the schema alone
	}
	if err != nil {
		t.abandon()
		return err
	}
	if t.file == nil {
		return nil
	}
	return t.finish()
}

// abandon removes a part that cannot be completed.
func (t *table[T]) abandon() {
	if t.file != nil {
		_ = t.file.Close()
		t.file = nil
		_ = t.dir.Remove(hiddenName(t.part))
	}
}

// RemoveTables removes the tables of a session.
func RemoveTables(session *Dir) error { return session.removeAll(tablesDir) }
