"""A heap that lies: words of objects are wrong at the moment in which a tracer reads them.

Just before a watched function returns, words of what it returns, of the scheduler and of its
requests are made wild (null, huge, unmapped, other objects, themselves), and put right again
as soon as it has returned: the interpreter itself never uses them in between.
"""
import ctypes
import gc
import random

# Words of an object that may lie: the dict pointer before it, not the GC's header, nor the
# reference count, which the interpreter changes as the function returns.
OFFSETS = [-24, *range(8, 160, 8)]


class Liar:
    def __init__(self, steps, seed):
        self.left = steps
        self.rng = random.Random(seed)
        self.keep = []  # nothing may be freed while it lies
        self.old = []

    def lie(self, objects):
        if self.left <= 0:
            return
        gc.disable()
        self.keep = objects
        words = []
        for _ in range(self.rng.choice((1, 1, 2, 8))):
            o = self.rng.choice(objects)
            size = type(o).__basicsize__
            if isinstance(o, (str, bytes, int)):
                offsets = [n for n in OFFSETS if 8 <= n < size]
            else:
                offsets = [n for n in OFFSETS if n < size and (n > 0 or type(o).__flags__ & (1 << 4))]
            if offsets:
                words.append((ctypes.c_uint64.from_address(id(o) + self.rng.choice(offsets)), self.wild(objects)))
        self.old = [(w, w.value) for w, _ in words]
        for w, v in words:
            w.value = v

    def wild(self, objects):
        rng = self.rng
        return rng.choice((
            0, 1, 0xFFFFFFFFFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 1 << 40, 1 << 32, 0xFFFFFFFF, 0x7FFF_FFFF_F000, 0xFFFF_8000_0000_0000,
            rng.getrandbits(64), rng.getrandbits(47), id(rng.choice(objects)), id(rng.choice(objects)) + rng.randrange(64),
        ))

    def restore(self):
        if not self.old:
            return
        for w, v in reversed(self.old):
            w.value = v
        self.old = []
        self.keep = []
        self.left -= 1
        gc.enable()


def parts(*roots, depth=3):
    """The objects that are reached from some, also through attributes; not those of modules."""
    found, todo = {}, [(r, depth) for r in roots]
    while todo:
        o, d = todo.pop()
        if id(o) in found or o is None or isinstance(o, (bool, type)) or callable(o):
            continue
        if isinstance(o, int) and -10 < o < 300 or isinstance(o, str) and len(o) < 4:
            continue  # the interpreter's own
        found[id(o)] = o
        if d == 0:
            continue
        if isinstance(o, dict):
            todo += [(x, d - 1) for pair in list(o.items())[:8] for x in pair]
        elif isinstance(o, (list, tuple, set, frozenset)) or type(o).__mro__[-2].__name__ == "deque":
            todo += [(x, d - 1) for x in list(o)[:8]]
        else:
            names = getattr(o, "__dict__", None) or {n: getattr(o, n, None) for n in getattr(type(o), "__slots__", ())}
            todo += [(names[n], d - 1) for n in ("num_scheduled_tokens", "scheduled_new_reqs", "scheduled_cached_reqs", "req_ids",
                                                "num_computed_tokens", "new_block_ids", "finished_req_ids", "preempted_req_ids",
                                                "running", "waiting", "requests", "request_id", "prompt_token_ids",
                                                "_output_token_ids", "outputs", "new_token_ids", "block_ids") if n in names]
    return list(found.values())
