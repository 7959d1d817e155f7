"""What a state folder says, read without the program: which ticks are committed, and how long each output file is to be.

The layout of a record and the rule of which log files count are those of src/checkpoint (frame, log, recover), written down
a second time, so that a mistake there does not hide itself.
"""

import hashlib
import json
import os
import re
import struct
import zlib
from dataclasses import dataclass, field

HEAD = struct.Struct("<BBHII")  # mark, kind, version, length of the payload, checksum
MARK = 0xF5
LOG_HEAD, COMMIT, COMPLETE, MANIFEST = 1, 2, 3, 7
LOG = re.compile(r"log-(\d{8})-(\d{6})")
SNAPSHOT = re.compile(r"snapshot-(\d{12})-(\d{8})")


@dataclass
class State:
    """What is known of a job from its folder."""

    incarnation: int = 0
    commits: dict = field(default_factory=dict)  # tick: digest of its commit record
    ends: dict = field(default_factory=dict)  # path: committed bytes
    next_tick: int = 0
    snapshot: int = -1  # the newest tick after which all state is stored
    complete: bool = False
    problems: list = field(default_factory=list)

    @property
    def behind_snapshot(self):
        """Committed ticks that a start makes again."""
        return 0 if self.complete else self.next_tick - self.snapshot - 1


def record(kind, payload):
    """The bytes of a record, as the program would write it."""
    checksum = zlib.crc32(payload, zlib.crc32(struct.pack("<BHI", kind, 1, len(payload))))
    return HEAD.pack(MARK, kind, 1, len(payload), checksum) + payload


def records(data):
    """The whole records at the front of some bytes: kind, payload, where it ends."""
    at = 0
    while len(data) - at >= HEAD.size:
        mark, kind, _, length, checksum = HEAD.unpack_from(data, at)
        payload = data[at + HEAD.size : at + HEAD.size + length]
        is_whole = mark == MARK and len(payload) == length
        if not is_whole or zlib.crc32(payload, zlib.crc32(data[at + 1 : at + 8])) != checksum:
            return
        at += HEAD.size + length
        yield kind, payload, at


def contents(path):
    """The bytes of a file; none when it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def chain(heads):
    """Log files that count, in order, each with the offset at which it ends; None: with its last whole record."""
    ends, counts = {}, set()
    incarnation = max((of for of, _ in heads), default=None)
    while incarnation is not None and incarnation not in counts:
        counts.add(incarnation)
        previous = next((head["previous"] for (of, _), head in sorted(heads.items()) if of == incarnation), None)
        if previous:
            ends[previous["incarnation"]] = (previous["sequence"], previous["offset"])
        incarnation = previous["incarnation"] if previous else None
    for of, sequence in sorted(heads):
        last, offset = ends.get(of, (None, None))
        if of in counts and (last is None or sequence <= last):
            yield of, sequence, offset if sequence == last else None


def read(folder):
    """Reads a state folder that nobody writes to. A folder that is not there holds nothing."""
    state = State()
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    heads, data = {}, {}
    for key, name in ((tuple(map(int, found.groups())), found[0]) for found in map(LOG.fullmatch, names) if found):
        data[key] = contents(os.path.join(folder, name))
        first = next(records(data[key]), None)
        if first and first[0] == LOG_HEAD:
            heads[key] = json.loads(first[1])
    for found in filter(None, map(SNAPSHOT.fullmatch, names)):
        first = next(records(contents(os.path.join(folder, found[0]))), None)
        if not first or first[0] != MANIFEST:
            state.problems.append(f"{found[0]} is no manifest: it is named only when it is whole")
            continue
        manifest = json.loads(first[1])
        state.snapshot = max(state.snapshot, manifest["tick"])
        for path, end in manifest["ends"].items():
            state.ends[path] = max(end, state.ends.get(path, 0))
    state.incarnation = max((of for of, _ in heads), default=0)
    expected = None
    for of, sequence, end in chain(heads):
        for kind, payload, at in records(data[of, sequence]):
            if end is not None and at > end:
                break
            state.complete = kind == COMPLETE
            if kind != COMMIT:
                continue
            commit = json.loads(payload)
            tick = commit["tick"]
            if expected not in (None, tick):
                state.problems.append(f"the log has tick {tick} where tick {expected} should stand")
            expected = tick + 1
            state.commits[tick] = hashlib.sha256(payload).hexdigest()
            for shown in commit["shown"]:
                if shown["end"] - shown["bytes"] != state.ends.get(shown["path"], 0) and tick > state.snapshot:
                    state.problems.append(f"tick {tick} goes on at {shown['end'] - shown['bytes']} in {shown['path']}")
                state.ends[shown["path"]] = max(shown["end"], state.ends.get(shown["path"], 0))
    state.next_tick = max(state.snapshot + 1, expected or 0)
    return state
