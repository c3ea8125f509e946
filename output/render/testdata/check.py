"""check.py TRACE [all]: decode a trace by the descriptors that Perfetto publishes, and treat it as its
trace processor does: sort by time, keep the order of the file where times are equal, close the newest
slice of a track. What the trace processor would count as an error is in errors.

Prints JSON: errors, clocks, and for each path in the tree of tracks how many slices, instants and
values it has, and the slices' time together; with all, every one of them.
"""
import gzip
import json
import sys
from collections import Counter, defaultdict

from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

path, everything = sys.argv[1], sys.argv[2:] == ["all"]
data = (gzip.open if path.endswith(".gz") else open)(path, "rb").read()
trace = pb.Trace.FromString(data)
errors = Counter()


def unknown(message):
    """Fields that the descriptors do not have, in the message and those within."""
    n = len(UnknownFieldSet(message))
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        repeated = not hasattr(value, "ListFields")
        n += sum(map(unknown, value)) if repeated else unknown(value)
    return n


KINDS = ("event_categories", "event_names", "debug_annotation_names", "debug_annotation_string_values")
words = {k: {} for k in KINDS}
tracks, events, clocks = {}, [], {}
cleared = default_clock = primary = None
for packet in trace.packet:
    errors["unknown field"] += unknown(packet)
    if packet.sequence_flags & packet.SEQ_INCREMENTAL_STATE_CLEARED:
        cleared = packet.trusted_packet_sequence_id
    if packet.trusted_packet_sequence_id != cleared or not cleared:
        errors["sequence without state"] += 1
    if packet.HasField("trace_packet_defaults"):
        default_clock = packet.trace_packet_defaults.timestamp_clock_id
    if packet.HasField("clock_snapshot"):
        primary = packet.clock_snapshot.primary_trace_clock
        clocks = {pb.BuiltinClock.Name(c.clock_id): c.timestamp for c in packet.clock_snapshot.clocks}
    for kind in KINDS:
        for entry in getattr(packet.interned_data, kind):
            if entry.iid in words[kind] or entry.iid == 0:
                errors["interned twice"] += 1
            text = entry.str.decode() if kind == KINDS[3] else entry.name
            words[kind][entry.iid] = text
    if packet.HasField("track_descriptor"):
        t = packet.track_descriptor
        if t.uuid in tracks or t.uuid == 0 or t.parent_uuid and t.parent_uuid not in tracks:
            errors["bad track"] += 1
        tracks[t.uuid] = t
    if packet.HasField("track_event"):
        if not packet.sequence_flags & packet.SEQ_NEEDS_INCREMENTAL_STATE:
            errors["event without state"] += 1
        events.append((packet.timestamp, packet.track_event))
if default_clock != pb.BUILTIN_CLOCK_MONOTONIC or primary != pb.BUILTIN_CLOCK_MONOTONIC:
    errors["not of CLOCK_MONOTONIC"] += 1


def word(kind, iid):
    if iid not in words[kind]:
        errors["not interned"] += 1
    return words[kind].get(iid)


def arg(a):
    kind = a.WhichOneof("value")
    value = word(KINDS[3], a.string_value_iid) if kind == "string_value_iid" else getattr(a, kind)
    return word(KINDS[2], a.name_iid), value


def where(uuid):
    names = []
    while uuid:
        names.append(tracks[uuid].name)
        uuid = tracks[uuid].parent_uuid
    return "/".join(reversed(names))


tree = defaultdict(lambda: {"slices": 0, "instants": 0, "values": 0, "dur_ns": 0, "names": Counter(), "tracks": set(), "depth": 0})
rows, stacks = [], defaultdict(list)
for ts, e in sorted(events, key=lambda x: x[0]):  # stable
    if e.track_uuid not in tracks:
        errors["no such track"] += 1
        continue
    at = where(e.track_uuid)
    node, stack = tree[at], stacks[e.track_uuid]
    node["tracks"].add(e.track_uuid)
    if e.type == e.TYPE_COUNTER:
        if not tracks[e.track_uuid].HasField("counter"):
            errors["value of no counter"] += 1
        node["values"] += 1
        rows.append({"at": at, "ts": ts, "value": e.double_counter_value})
        continue
    if e.type == e.TYPE_SLICE_END:
        if not stack:
            errors["misplaced end"] += 1
            continue
        row = stack.pop()
        row["dur"] = ts - row["ts"]
        node["dur_ns"] += row["dur"]
        continue
    args = [arg(a) for a in e.debug_annotations]
    if len(args) != len(dict(args)):
        errors["argument twice"] += 1
    row = {"at": at, "ts": ts, "name": word(KINDS[1], e.name_iid), "category": word(KINDS[0], e.category_iids[0]), "args": dict(args)}
    rows.append(row)
    node["names"][row["name"]] += 1
    if e.type == e.TYPE_INSTANT:
        node["instants"] += 1
    else:
        node["slices"] += 1
        stack.append(row)
        node["depth"] = max(node["depth"], len(stack))
errors["never ended"] += sum(map(len, stacks.values()))
for node in tree.values():
    node["tracks"] = len(node["tracks"])
out = {"errors": +errors, "clocks": clocks, "tree": tree, "words": sum(map(len, words.values()))}
if everything:
    out["rows"] = rows
json.dump(out, sys.stdout)
