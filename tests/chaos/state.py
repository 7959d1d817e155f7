"""What a state folder says, read without the program: which ticks are committed, and how long each output file is to be.

The layout of a record and the rule of which log files count are those of src/checkpoint (frame, log, chain), written down
a second time, so that a mistake there does not hide itself.
"""

import hashlib
import json
import os
import re
import struct
import zlib
from dataclasses import dataclass, field

HEAD = struct.Struct("<4sBBHIIQI")  # magic, kind, version, 0, length and checksum of the payload, durable bytes, 0
CHECK = struct.Struct("<I")  # checksum of the above
HEADER = HEAD.size + CHECK.size
MAGIC = b"MFsr"
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
    head = HEAD.pack(MAGIC, kind, 1, 0, len(payload), zlib.crc32(payload), 0, 0)
    return head + CHECK.pack(zlib.crc32(head)) + payload


def records(data):
    """The whole records at the front of some bytes: kind, payload, where it ends."""
    at = 0
    while len(data) - at >= HEADER:
        head = data[at : at + HEAD.size]
        magic, kind, _, _, length, checksum, _, _ = HEAD.unpack(head)
        payload = data[at + HEADER : at + HEADER + length]
        if magic != MAGIC or CHECK.unpack_from(data, at + HEAD.size)[0] != zlib.crc32(head):
            return
        if len(payload) != length or zlib.crc32(payload) != checksum:
            return
        at += HEADER + length
        yield kind, payload, at


def contents(path):
    """The bytes of a file; none when it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def chain(heads):
    """Log files that count, in order, each with the offset at which it ends; None: with its last whole record. Each
    file says where the one before it ends."""
    files, key, end = [], max(heads, default=None), None
    while key in heads:
        files.append((*key, end))
        previous = heads[key]["previous"]
        key, end = None, None
        if previous:
            key, end = (previous["incarnation"], previous["sequence"]), previous["length"]
    return reversed(files)


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
        for file in manifest["files"]:
            state.ends[file["path"]] = max(file["end"], state.ends.get(file["path"], 0))
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
