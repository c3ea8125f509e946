package wire

// Counters is a batch of samples of one GPU's hardware counters, as the sampler
// gave them: the payload of the journal's records of kind decode.RecordCounters.
// Little endian, with nothing between:
//
//	u8 version (1), u8 GPU index, u16 metrics, u32 samples
//	u64 lost: samples lost since the session with the counters began
//	u64 end[samples]: end of each sample, ns of the GPU's timer
//	u32 length[samples]: duration of each, ns
//	f32 value[metrics][samples], metrics in the order of record.Sampler.Metrics
//
// A metric that could not be evaluated is NaN.
type Counters struct {
	GPU     uint8
	Metrics int
	Samples int
	Lost    uint64
	ends    []byte
	lengths []byte
	values  []byte
}

// CountersVersion is the version of this layout.
const CountersVersion = 1

// Names of the metrics in record.Sampler.Metrics. Percentages are of the cycles
// that elapsed, averaged over the SMs; bytes are the whole device's.
const (
	MetricSMActivePct    = "sm_active_pct"
	MetricTensorPct      = "tensor_active_pct"
	MetricDRAMReadBytes  = "dram_read_bytes"
	MetricDRAMWriteBytes = "dram_write_bytes"
	MetricPCIeReadBytes  = "pcie_read_bytes"
	MetricPCIeWriteBytes = "pcie_write_bytes"
)
