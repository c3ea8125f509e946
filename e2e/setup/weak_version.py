#!/usr/bin/env python3
"""weak_version.py FILE VERSION: has FILE, a 64-bit ELF library, do with an older one than has VERSION.

GCC 13 puts a reference to std::ios_base_library_init() (GLIBCXX_3.4.32) into all that includes <iostream>, and
nothing calls it. Marked as weak, the version may be missing. Prints whether FILE named it.
"""

import os
import struct
import sys

SHT_GNU_VERNEED, VER_FLG_WEAK = 0x6FFFFFFE, 2


def sections(elf):
    offset, = struct.unpack_from("<Q", elf, 0x28)
    size, count = struct.unpack_from("<HH", elf, 0x3A)
    for i in range(count):
        _, kind, _, _, at, length, link = struct.unpack_from("<IIQQQQI", elf, offset + i * size)
        yield kind, at, length, link


def names(elf, link):
    _, at, length, _ = list(sections(elf))[link]
    return elf[at:at + length]


def weaken(elf, version):
    found = False
    for kind, at, _, link in sections(elf):
        if kind != SHT_GNU_VERNEED:
            continue
        strings = names(elf, link)
        while True:  # a library that is needed
            _, count, _, aux, following = struct.unpack_from("<HHIII", elf, at)
            need = at + aux
            for _ in range(count):  # a version of it
                _, flags, _, name, step = struct.unpack_from("<IHHII", elf, need)
                if strings[name:strings.index(b"\0", name)] == version:
                    struct.pack_into("<H", elf, need + 4, flags | VER_FLG_WEAK)
                    found = True
                need += step
            if not following:
                break
            at += following
    return found


def main(path, version):
    with open(path, "rb") as f:
        elf = bytearray(f.read())
    found = weaken(elf, version.encode())
    if found:  # a new file: this one may be linked to uv's cache
        with open(path + ".new", "wb") as f:
            f.write(elf)
        os.chmod(path + ".new", 0o755)
        os.replace(path + ".new", path)
    print("weak" if found else "not named")


main(*sys.argv[1:])
