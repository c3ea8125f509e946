#!/usr/bin/env python3
"""bpf_strip.py [-g] FILE: takes DWARF out of a BPF object, in place; BTF stays.

What `llvm-strip -g` is for bpf2go, where the clang comes from a package that has no llvm-strip.
The debug sections keep their numbers but become empty (SHT_NULL), so nothing else needs to change.
"""

import struct
import sys

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
SHT_NULL, SHT_NOBITS = 0, 8


def strip(data):
    header = list(HEADER.unpack_from(data))
    ident, offset, count, names_at = header[0], header[6], header[12], header[13]
    if ident[:6] != b"\x7fELF\x02\x01":
        raise SystemExit("not a 64-bit little-endian ELF file")
    sections = [list(SECTION.unpack_from(data, offset + i * SECTION.size)) for i in range(count)]
    names = sections[names_at][4]

    def name(s):
        start = names + s[0]
        return data[start : data.index(b"\0", start)].decode()

    out = bytearray(HEADER.size)
    for s in sections:
        if name(s).startswith((".debug_", ".rel.debug_")):
            s[1:] = [SHT_NULL] + [0] * 8
        elif s[1] not in (SHT_NULL, SHT_NOBITS):
            out += bytes(-len(out) % max(1, s[8]))
            start, s[4] = s[4], len(out)
            out += data[start : start + s[5]]
    out += bytes(-len(out) % 8)
    header[6] = len(out)
    for s in sections:
        out += SECTION.pack(*s)
    out[: HEADER.size] = HEADER.pack(*header)
    return bytes(out)


def main():
    path = sys.argv[-1]
    with open(path, "rb") as f:
        data = f.read()
    data = strip(data)
    with open(path, "wb") as f:
        f.write(data)


if __name__ == "__main__":
    main()
