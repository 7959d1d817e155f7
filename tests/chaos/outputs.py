"""What readers of the output files see while a job is killed again and again, compared with an undisturbed run."""

import os
import re
from collections import Counter, defaultdict

import state as states

METER = re.compile(rb'"meter(?:_id)?":"([^"]*)"')
FOLDER = "stats"  # the sink that has a file for each worker
ORDERED = {"anomalies", "late", FOLDER}  # sinks whose lines of one meter keep their order
SHOWN = 300  # bytes of a line in messages


def sink_of(path):
    """The sink that a file belongs to."""
    first = path.split(os.sep)[0]
    return first.removesuffix(".jsonl")


def files(folder):
    """All files below a folder, as relative paths."""
    found = (os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)
    return sorted(os.path.relpath(path, folder) for path in found)


def meter_of(line):
    """The meter of a line; a dead letter may have none."""
    found = METER.search(line)
    return found[1] if found else b""


class Reference:
    """The lines of the undisturbed run, by sink."""

    def __init__(self, folder):
        self.lines = {}
        for path in files(folder):
            self.lines[sink_of(path)] = states.contents(os.path.join(folder, path)).splitlines(keepends=True)
        self.count = {sink: Counter(lines) for sink, lines in self.lines.items()}
        self.places = {sink: self._places(lines) for sink, lines in self.lines.items() if sink in ORDERED}

    @staticmethod
    def _places(lines):
        """Of each line, its number among the lines of its meter."""
        places, next_of = {}, Counter()
        for line in lines:
            meter = meter_of(line)
            places[line] = next_of[meter]
            next_of[meter] += 1
        return places


class Outputs:
    """The output files of one job, from look to look."""

    def __init__(self, folder, reference, is_exact=True):
        self.folder, self.reference, self.is_exact = folder, reference, is_exact
        self.seen = defaultdict(bytes)
        self.read = Counter()  # bytes of whole lines that have been compared
        self.left = {sink: count.copy() for sink, count in reference.count.items()}
        self.newest = {}  # file and meter: place of its last line
        self.commits = {}
        self.state = states.State()
        self.got = self.doubled = self.wrong = 0
        self.problems = []

    def gather(self, state_folder):
        """What is there now: the state, and the content of every output file. No process of the job may live."""
        now = states.read(state_folder)
        known = {os.path.relpath(path, self.folder) for path in now.ends}
        paths = sorted(known.union(self.seen, files(self.folder)))
        return now, {path: states.contents(os.path.join(self.folder, path)) for path in paths}

    def compare(self, gathered, is_idle=False):
        """Compares what was gathered with what must be; `is_idle`: the last process has ended in peace."""
        now, contents = gathered
        self.problems += now.problems
        self._compare_commits(now)
        if not self.is_exact:
            self._compare_loosely(contents)
            contents = {}
        for path, content in contents.items():
            self._compare_length(path, len(content), now, is_idle)
            if not content.startswith(self.seen[path]):
                self.problems.append(f"{path}: what was visible has changed, {len(self.seen[path])} to {len(content)} bytes")
            self.seen[path] = content
            self._compare_lines(path, content)
        self.state = now

    def _compare_loosely(self, contents):
        """Lines may be doubled and files go back: what is there in the end counts, and whether all of it is right."""
        found = {sink: Counter() for sink in self.reference.count}
        for path, content in contents.items():
            whole = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
            found.setdefault(sink_of(path), Counter()).update(whole)
        wrong = [line for sink, lines in found.items() for line in lines if line not in self.reference.count.get(sink, ())]
        self.problems += [f"wrong: {line[:SHOWN]!r}" for line in wrong]
        self.wrong += len(wrong)
        self.got = sum(lines.total() for lines in found.values())
        self.doubled = sum((lines - self.reference.count.get(sink, Counter())).total() for sink, lines in found.items())
        self.left = {sink: count - found[sink] for sink, count in self.reference.count.items()}

    def _compare_commits(self, now):
        for tick, digest in now.commits.items():
            if self.commits.setdefault(tick, digest) != digest:
                self.problems.append(f"tick {tick} was committed with another content before")
        if now.next_tick < self.state.next_tick:
            self.problems.append(f"ticks {now.next_tick} to {self.state.next_tick - 1} were committed, and are not any more")

    def _compare_length(self, path, length, now, is_idle):
        ends = {os.path.relpath(of, self.folder): end for of, end in now.ends.items()}
        before = {os.path.relpath(of, self.folder): end for of, end in self.state.ends.items()}
        if length > ends.get(path, 0):
            self.problems.append(f"{path}: {length} bytes are visible, {ends.get(path, 0)} are committed")
        # A start completes the files between the beginning of its log and its first tick.
        has_gone_on = now.incarnation > self.state.incarnation and now.next_tick > self.state.next_tick
        if has_gone_on and length < before.get(path, 0):
            self.problems.append(f"{path}: not completed at the start: {length} bytes of {before[path]}")
        if is_idle and length != ends.get(path, 0):
            self.problems.append(f"{path}: {length} bytes after a clean end, {ends.get(path, 0)} are committed")

    def _compare_lines(self, path, content):
        sink = sink_of(path)
        end = content.rfind(b"\n") + 1
        left, known = self.left.get(sink, Counter()), self.reference.count.get(sink, {})
        for line in content[self.read[path] : end].splitlines(keepends=True):
            self.got += 1
            if left[line] > 0:
                left[line] -= 1
                self._compare_order(sink, path, line)
            elif line in known:
                self.doubled += 1
                self.problems.append(f"{path}: doubled: {line[:SHOWN]!r}")
            else:
                self.wrong += 1
                self.problems.append(f"{path}: wrong: {line[:SHOWN]!r}")
        self.read[path] = max(end, self.read[path])

    def _compare_order(self, sink, path, line):
        if sink not in ORDERED:
            return
        place, key = self.reference.places[sink][line], (path, meter_of(line))
        before = self.newest.get(key, -1)
        # A file of a folder has some of the lines; any other has all of them.
        if place <= before or (sink != FOLDER and place != before + 1):
            self.problems.append(f"{path}: out of order: {line[:SHOWN]!r}")
        self.newest[key] = place

    def lost(self):
        """How many lines are not there, and the first of each sink."""
        first = [f"{sink}: lost: {line[:SHOWN]!r}" for sink, left in self.left.items() for line in list(+left)[:1]]
        return sum((+left).total() for left in self.left.values()), first
