package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Kinds of records that pmtrace writes. Any other byte is kept just as well.
const (
	KindEvent = 'E' // a raw event of the wire (bpf/event.h)
	KindFact  = 'F' // JSON of a record.Fact

	KindCounters = 'C' // samples of a GPU's hardware counters (decode/wire.Counters)
)

// Version is the version of the format, in every file's header.
const Version = 1

const (
	fileMagic  = "\x89PMJ\r\n\x1a\n"
	frameMagic = "\xf5PMF"

	fileHeaderSize  = 20
	frameHeaderSize = 36

	// MaxBlock bounds the records of one frame, MaxRecord one record. Nothing
	// larger is written; whatever claims to be larger is damage.
	MaxBlock  = 64 << 20
	MaxRecord = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func fileName(index int) string { return fmt.Sprintf("%05d.pmj", index) }

// A file's header: magic[8], version u32, index u32, CRC32C of those.
func appendFileHeader(b []byte, index int) []byte {
	start := len(b)
	b = append(b, fileMagic...)
	b = binary.LittleEndian.AppendUint32(b, Version)
	b = binary.LittleEndian.AppendUint32(b, uint32(index))
	return binary.LittleEndian.AppendUint32(b, sumOf(b[start:]))
}

// checkFileHeader returns the version, or why b is not a header.
func checkFileHeader(b []byte) (uint32, Reason) {
	if string(b[:8]) != fileMagic || sumOf(b[:16]) != binary.LittleEndian.Uint32(b[16:]) {
		return 0, BadFileHeader
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != Version {
		return v, UnknownVersion
	}
	return Version, ""
}

// A frame's header. It has a checksum of its own, so that a damaged payload
// costs its frame alone: the lengths still lead to the next one.
type frameHeader struct {
	stored  uint32 // bytes of the zstd block that follows
	block   uint32 // bytes of the block once decompressed
	bytes   uint32 // bytes of the records' payloads
	records uint32
	seq     uint64 // counts the journal's frames from 0, over all files
	sum     uint32 // CRC32C of the zstd block
}

func (h frameHeader) append(b []byte) []byte {
	start := len(b)
	b = append(b, frameMagic...)
	b = binary.LittleEndian.AppendUint32(b, h.stored)
	b = binary.LittleEndian.AppendUint32(b, h.block)
	b = binary.LittleEndian.AppendUint32(b, h.bytes)
	b = binary.LittleEndian.AppendUint32(b, h.records)
	b = binary.LittleEndian.AppendUint64(b, h.seq)
	b = binary.LittleEndian.AppendUint32(b, h.sum)
	return binary.LittleEndian.AppendUint32(b, sumOf(b[start:]))
}

func parseFrameHeader(b []byte) (h frameHeader, reason Reason) {
	switch {
	case string(b[:4]) != frameMagic:
		return h, BadFrameHeader
	case sumOf(b[:frameHeaderSize-4]) != binary.LittleEndian.Uint32(b[frameHeaderSize-4:]):
		return h, BadFrameHeader
	}
	h.stored = binary.LittleEndian.Uint32(b[4:])
	h.block = binary.LittleEndian.Uint32(b[8:])
	h.bytes = binary.LittleEndian.Uint32(b[12:])
	h.records = binary.LittleEndian.Uint32(b[16:])
	h.seq = binary.LittleEndian.Uint64(b[20:])
	h.sum = binary.LittleEndian.Uint32(b[28:])
	// The block holds every payload byte and at least two bytes a record.
	if h.block > MaxBlock || h.stored > MaxBlock || h.bytes > h.block || h.records > h.block {
		return h, TooLarge
	}
	return h, ""
}

func sumOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
