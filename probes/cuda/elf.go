package cuda

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

const (
	maxNames  = 16 << 20  // bytes of section names
	maxTables = 128 << 20 // bytes of symbols, names and versions together; torch's have 60 MB
)

var errTooLarge = errors.New("its ELF tables are larger than any library's")

// readELF reads a file's headers. The file is another process's: a table whose
// size is a lie would take all our memory.
func readELF(f *os.File) (*elf.File, error) {
	if err := checkNames(f); err != nil {
		return nil, err
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return nil, err
	}
	if err := checkTables(e.Sections); err != nil {
		return nil, err
	}
	return e, nil
}

// checkTables looks at the sizes of all that is read for the dynamic symbols. A
// compressed section would be as large as it says, whatever the file has.
func checkTables(sections []*elf.Section) error {
	total := uint64(0)
	add := func(s *elf.Section) error {
		if s.Flags&elf.SHF_COMPRESSED != 0 {
			return errors.New("its tables of symbols are compressed, which no library's are")
		}
		if total += min(max(s.Size, s.FileSize), maxTables+1); total > maxTables {
			return errTooLarge
		}
		return nil
	}
	for _, s := range sections {
		switch s.Type {
		case elf.SHT_DYNSYM:
			if int(s.Link) < len(sections) { // its names, whatever their type
				if err := add(sections[s.Link]); err != nil {
					return err
				}
			}
		case elf.SHT_DYNAMIC, elf.SHT_GNU_VERSYM, elf.SHT_GNU_VERNEED, elf.SHT_GNU_VERDEF:
		default:
			continue
		}
		if err := add(s); err != nil {
			return err
		}
	}
	return nil
}

// checkNames looks at the size of the one table that elf.NewFile reads by itself.
func checkNames(r io.ReaderAt) error {
	var head elf.Header64
	if err := readAt(r, 0, &head); err != nil {
		return err
	}
	if head.Ident[elf.EI_CLASS] != byte(elf.ELFCLASS64) || head.Ident[elf.EI_DATA] != byte(elf.ELFDATA2LSB) {
		return errors.New("not a 64-bit little-endian ELF file")
	}
	if head.Shnum == 0 || head.Shstrndx == uint16(elf.SHN_XINDEX) {
		return errors.New("its ELF header names no table of sections, as a library's does")
	}
	var names elf.Section64
	if err := readAt(r, int64(head.Shoff)+int64(head.Shstrndx)*int64(head.Shentsize), &names); err != nil {
		return err
	}
	if names.Size > maxNames {
		return errTooLarge
	}
	return nil
}

func readAt(r io.ReaderAt, at int64, v any) error {
	if at < 0 {
		return errors.New("not an ELF file")
	}
	return binary.Read(io.NewSectionReader(r, at, int64(binary.Size(v))), binary.LittleEndian, v)
}

// functionOffsets gives the offsets in the file at which the exported functions that
// are asked for can be probed. A function may have several versions, and several
// names one offset.
func functionOffsets(f io.ReaderAt, e *elf.File, wanted func(name string) bool) (map[string][]uint64, error) {
	symbols, err := e.DynamicSymbols()
	if err != nil {
		return nil, fmt.Errorf("dynamic symbols: %w", err)
	}
	out := map[string][]uint64{}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Section == elf.SHN_UNDEF || !wanted(s.Name) {
			continue
		}
		at, ok := fileOffset(e, s.Value)
		if !ok {
			continue
		}
		if e.Machine == elf.EM_X86_64 {
			at += uint64(cheapPlace(beginning(f, at, s.Size)))
		}
		if !slices.Contains(out[s.Name], at) {
			out[s.Name] = append(out[s.Name], at)
		}
	}
	return out, nil
}

// beginning reads the first bytes of a function; none where that fails.
func beginning(f io.ReaderAt, at, size uint64) []byte {
	code := make([]byte, min(size, prologueBytes))
	if _, err := f.ReadAt(code, int64(at)); err != nil {
		return nil
	}
	return code
}

func fileOffset(e *elf.File, addr uint64) (uint64, bool) {
	for _, p := range e.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			return addr - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}
