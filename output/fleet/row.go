package fleet

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/pmtrace/pmtrace/output/session"
)

// TableSessions has a row a session.
const TableSessions = "sessions"

// SessionRow is a row of it. While a session is traced, and after one whose end nobody
// recorded, all but its name and start are null.
type SessionRow struct {
	SessionID string     `parquet:"session_id"`
	StartTime time.Time  `parquet:"start_time,timestamp(microsecond)"` // the tables' times count from here
	EndTime   *time.Time `parquet:"end_time,optional,timestamp(microsecond)"`
	EndReason *string    `parquet:"end_reason,optional"` // server_exited, interrupted, duration, …
	Hostname  *string    `parquet:"hostname,optional"`   // as the host called itself
	Mode      *string    `parquet:"mode,optional"`       // attach, record
	Command   []string   `parquet:"command,list"`        // of the server, secrets removed

	Model       *string `parquet:"model,optional"`
	VLLM        *string `parquet:"vllm_version,optional"`
	Torch       *string `parquet:"torch_version,optional"`
	CUDA        *string `parquet:"cuda_version,optional"`
	Python      *string `parquet:"python_version,optional"`
	Kernel      *string `parquet:"kernel,optional"`
	Pmtrace     *string `parquet:"pmtrace_version,optional"`
	GPU         *string `parquet:"gpu,optional"` // name of the first
	GPUs        *int32  `parquet:"gpus,optional"`
	GPUMemory   *int64  `parquet:"gpu_memory_bytes,optional"` // of all
	Engines     *int32  `parquet:"engines,optional"`
	TP          *int32  `parquet:"tensor_parallel,optional"`
	PP          *int32  `parquet:"pipeline_parallel,optional"`
	DP          *int32  `parquet:"data_parallel,optional"`
	MaxSeqs     *int32  `parquet:"max_num_seqs,optional"`
	MaxTokens   *int32  `parquet:"max_num_batched_tokens,optional"`
	MaxModelLen *int32  `parquet:"max_model_len,optional"`
	BlockSize   *int32  `parquet:"block_size,optional"`
	Blocks      *int32  `parquet:"num_gpu_blocks,optional"` // of an engine

	Steps          *int64  `parquet:"steps,optional"`
	Requests       *int64  `parquet:"requests,optional"`
	NeverScheduled *int64  `parquet:"requests_never_scheduled,optional"`
	EventsSeen     *int64  `parquet:"events_seen,optional"`
	EventsLost     *int64  `parquet:"events_lost,optional"` // counted by probe and reason in metadata
	Unavailable    *int32  `parquet:"unavailable,optional"` // profilers and columns that could not be had
	Metadata       *string `parquet:"metadata,optional"`    // metadata.json
}

// begunRow is that of a session of which no more is known.
func begunRow(about session.About) (*SessionRow, error) {
	start, err := time.Parse(time.RFC3339Nano, about.Start)
	return &SessionRow{SessionID: about.SessionID, StartTime: start.UTC()}, err
}

// endedRow is that of a session with metadata.json.
func endedRow(dir *session.Dir) (*SessionRow, error) {
	facts, err := session.ReadFacts(dir)
	if err != nil {
		return nil, err
	}
	var counts struct {
		Steps    *int64 `json:"steps"`
		Requests *int64 `json:"requests"`
		Lost     *int64 `json:"events_lost"`
		Versions struct {
			Python string `json:"python"`
			VLLM   string `json:"vllm"`
			Torch  string `json:"torch"`
			CUDA   string `json:"cuda"`
		} `json:"versions"`
	}
	if err := session.ReadMetadata(dir, &counts); err != nil {
		return nil, err
	}
	text, err := fs.ReadFile(dir.FS(), session.FileMetadata)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	if err := json.Compact(&packed, text); err != nil {
		return nil, err
	}
	row, err := begunRow(facts.About())
	if err != nil {
		return nil, err
	}
	row.Hostname, row.Mode, row.Command = known(facts.Start.Host), known(facts.Start.Mode), facts.Start.Command
	v := counts.Versions
	row.VLLM, row.Torch, row.CUDA, row.Python = known(v.VLLM), known(v.Torch), known(v.CUDA), known(v.Python)
	row.Kernel, row.Pmtrace = known(facts.Start.Kernel), known(facts.Start.Version)
	row.Steps, row.Requests, row.EventsLost = counts.Steps, counts.Requests, counts.Lost
	row.NeverScheduled = new(facts.NeverScheduled)
	row.Unavailable = new(int32(len(facts.Unavailable)))
	row.Metadata = known(packed.String())
	if e := facts.End; e != nil {
		row.EndTime, row.EndReason, row.EventsSeen = new(time.Unix(0, e.WallNS).UTC()), known(e.Reason), new(int64(e.Events))
	}
	row.engines(facts)
	row.gpus(facts)
	return row, nil
}

// engines are all of one server, and alike.
func (row *SessionRow) engines(facts *session.Facts) {
	if len(facts.Engines) == 0 {
		return
	}
	e := facts.Engines[0]
	row.Engines, row.Model = new(int32(len(facts.Engines))), known(e.Model)
	row.TP, row.PP, row.DP = positive(e.TP), positive(e.PP), positive(e.DP)
	row.MaxSeqs, row.MaxTokens, row.MaxModelLen = positive(e.MaxSeqs), positive(e.MaxTokens), positive(e.MaxModelLen)
	row.BlockSize, row.Blocks = positive(e.BlockSize), positive(e.Blocks)
}

func (row *SessionRow) gpus(facts *session.Facts) {
	if len(facts.GPUs) == 0 {
		return
	}
	var memory int64
	for _, g := range facts.GPUs {
		memory += int64(g.MemoryBytes)
	}
	row.GPU, row.GPUs, row.GPUMemory = known(facts.GPUs[0].Name), new(int32(len(facts.GPUs))), new(memory)
}

// known is nil for what could not be read.
func known(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func positive(n int) *int32 {
	if n <= 0 {
		return nil
	}
	return new(int32(n))
}

// parquetOf writes the row as a file: the same row, the same bytes.
func parquetOf(row *SessionRow) ([]byte, error) {
	var b bytes.Buffer
	w := parquet.NewGenericWriter[SessionRow](&b,
		parquet.CreatedBy("pmtrace", strconv.Itoa(session.SchemaVersion), ""),
		parquet.Compression(&parquet.Zstd),
		parquet.KeyValueMetadata("schema_version", strconv.Itoa(session.SchemaVersion)))
	if _, err := w.Write([]SessionRow{*row}); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
