package traffic

import (
	"encoding/binary"
	"math"

	"github.com/pmtrace/pmtrace/decode/record"
)

// The events have the sizes and the contents of bpf/event.h; nothing here is
// decoded by anyone, only stored.

func (s *Server) begin(kind uint16) {
	s.buf = s.buf[:0]
	s.u64(uint64(3_600e9 + s.now))
	s.u32(s.seq)
	s.u16(kind)
	s.buf = append(s.buf, 0, 1)
	s.seq++
}

func (s *Server) u64(v ...uint64) {
	for _, v := range v {
		s.buf = binary.LittleEndian.AppendUint64(s.buf, v)
	}
}

func (s *Server) u32(v ...uint32) {
	for _, v := range v {
		s.buf = binary.LittleEndian.AppendUint32(s.buf, v)
	}
}

func (s *Server) u16(v ...uint16) {
	for _, v := range v {
		s.buf = binary.LittleEndian.AppendUint16(s.buf, v)
	}
}

func (s *Server) emit() {
	if s.Event != nil {
		s.Event(s.buf)
	}
}

func (s *Server) output() uint64 { return 0x7f39_8000_0000 + uint64(s.step%3)*0x1a0 }

func (s *Server) stepEvents(start int64, rows []record.StepRequestRow) {
	var fresh []*request
	tokens := uint32(0)
	for i, r := range s.running {
		tokens += uint32(rows[i].Scheduled)
		if r.produced == 0 && rows[i].Kind == record.KindPrefill {
			fresh = append(fresh, r)
		}
	}
	s.begin(1)
	s.u64(s.output(), math.Float64bits(float64(3_600e9+start)/1e9))
	n := uint32(len(rows))
	s.u32(uint32(s.step), tokens, n, uint32(len(fresh)), n-uint32(len(fresh)), uint32(len(s.ended)), 0, 0, 0, 0,
		n, 3, n+3, uint32(len(s.free)), 0, 0)
	s.emit()
	for _, r := range fresh {
		s.begin(3)
		s.u64(r.key, r.object, math.Float64bits(1.7e9+float64(r.arrival)/1e9))
		s.u32(uint32(s.step), 1, uint32(r.prompt), uint32(r.prompt), uint32(r.prompt), 0, uint32(r.output), 0, 0)
		s.u16(uint16(len(r.id)))
		s.buf = append(s.buf, 1, 0)
		s.buf = append(s.buf, r.id...)
		s.emit()
	}
	if len(s.ended) > 0 {
		s.begin(5)
		s.u32(uint32(s.step), 0)
		s.u16(uint16(len(s.ended)), 1)
		s.u32(0)
		s.u64(s.ended...)
		s.emit()
	}
	for at := 0; at < len(rows); at += 128 {
		part := rows[at:min(at+128, len(rows))]
		s.begin(2)
		s.u32(uint32(s.step), uint32(at))
		s.u16(uint16(len(part)), 0)
		s.u32(0)
		for i, row := range part {
			s.u64(s.running[at+i].key)
			computed := uint32(*row.Computed)
			if s.running[at+i].produced == 0 {
				computed = 0xffffffff
			}
			s.u32(uint32(row.Scheduled), computed, uint32(*row.NewBlocks), 0)
		}
		s.emit()
	}
}

func (s *Server) updateEvent(kind uint16) {
	s.begin(kind)
	s.u64(s.output())
	s.u32(s.update, uint32(len(s.running)), 0, 0)
	s.emit()
}

func (s *Server) kv(op byte, r *request, blocks []int32) {
	before := uint32(len(s.free) + len(blocks))
	if op == 3 {
		before = uint32(len(s.free) - len(blocks))
	}
	for at := 0; at < len(blocks); at += 128 {
		part := blocks[at:min(at+128, len(blocks))]
		s.begin(10)
		s.u64(r.object)
		s.u32(before, uint32(len(s.free)), uint32(at))
		s.u16(uint16(len(part)))
		more := byte(0)
		if at+128 < len(blocks) {
			more = 1
		}
		s.buf = append(s.buf, op, more)
		s.u32(uint32(len(blocks)), 0)
		for _, b := range part {
			s.u32(uint32(b))
		}
		s.emit()
	}
}
