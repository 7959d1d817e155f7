"""Tests of the checks themselves: a job that is as it should be passes, and each defect is noticed."""

import json
import os
import tempfile

import state as states
from outputs import Outputs, Reference


def line(meter, number):
    return f'{{"meter":"{meter}","number":{number}}}\n'.encode()


LINES = [line(meter, number) for number in range(4) for meter in ("a", "b")]


class Folder:
    """A job of one sink, written by hand."""

    def __init__(self, folder):
        self.folder, self.out, self.state = folder, os.path.join(folder, "out"), os.path.join(folder, "state")
        self.path = os.path.join(self.out, "anomalies.jsonl")
        self.undisturbed = os.path.join(folder, "undisturbed")
        for each in (self.out, self.state, self.undisturbed):
            os.makedirs(each)
        self.write(self.undisturbed, LINES)
        self.outputs = Outputs(self.out, Reference(self.undisturbed))

    @staticmethod
    def write(folder, lines):
        with open(os.path.join(folder, "anomalies.jsonl"), "wb") as file:
            file.write(b"".join(lines))

    def log(self, incarnation, ticks, previous=None, tail=b"", first=0):
        """A log file with a commit for each list of lines; returns where it ends."""
        head = {"incarnation": incarnation, "sequence": 0, "previous": previous}
        data = states.record(states.LOG_HEAD, json.dumps(head).encode())
        end = len(b"".join(LINES[: first * 2]))
        for tick, lines in enumerate(ticks, first):
            size = len(b"".join(lines))
            end += size
            shown = {"sink": "anomalies", "path": self.path, "bytes": size, "end": end}
            data += states.record(states.COMMIT, json.dumps({"tick": tick, "shown": [shown]}).encode())
        with open(os.path.join(self.state, f"log-{incarnation:08}-000000"), "wb") as file:
            file.write(data + tail)
        return {"incarnation": incarnation, "sequence": 0, "length": len(data)}

    def look(self, shown, is_idle=False):
        self.write(self.out, shown)
        self.outputs.compare(self.outputs.gather(self.state), is_idle)

    def found(self):
        return " ".join(self.outputs.problems + self.outputs.lost()[1])


def two(first):
    return LINES[first : first + 2]


def right(job):
    """Nothing is wrong: a torn tail of the log, lines that are committed and not shown, a line shown in part."""
    job.look([])
    end = job.log(1, [two(0), two(2)], tail=states.record(states.COMMIT, b"{}")[:-1])
    job.look([*two(0), LINES[2][:5]])
    job.log(2, [two(4), two(6)], previous=end, first=2)
    job.look(LINES, is_idle=True)


def lost(job):
    job.log(1, [two(0), two(2), two(4)])
    job.look(LINES[:6], is_idle=True)


def doubled(job):
    job.log(1, [two(0), two(0)])
    job.look([*two(0), *two(0)])


def wrong(job):
    job.log(1, [[line("a", 9)]])
    job.look([line("a", 9)])


def reordered(job):
    job.log(1, [[LINES[2], LINES[0]]])
    job.look([LINES[2], LINES[0]])


def too_early(job):
    job.log(1, [two(0)])
    job.look(LINES[:4])


def void(job):
    """What stands behind the place where a later log goes on does not count."""
    end = job.log(1, [two(0)])
    job.log(1, [two(0), two(2)])
    job.log(2, [], previous=end)
    job.look(LINES[:4])


def changed(job):
    job.log(1, [two(0), two(2)])
    job.look(LINES[:4])
    job.look(LINES[1:4])


def cut(job):
    job.log(1, [two(0)])
    job.look(LINES[:1], is_idle=True)


def not_completed(job):
    end = job.log(1, [two(0), two(2)])
    job.look(LINES[:1])
    job.log(2, [two(4)], previous=end, first=2)
    job.look(LINES[:2])


def taken_back(job):
    job.log(1, [two(0), two(2)])
    job.look(LINES[:2])
    job.log(1, [two(0)])
    job.look(LINES[:2])


def committed_otherwise(job):
    job.log(1, [LINES[:2]])
    job.look([])
    job.log(1, [LINES[:1]])
    job.look([])


def gap(job):
    end = job.log(1, [two(0)])
    job.log(2, [two(4)], previous=end, first=2)
    job.look([])


CASES = {
    right: "",
    lost: "anomalies: lost",
    doubled: "doubled",
    wrong: "wrong",
    reordered: "out of order",
    too_early: "are committed",
    void: "bytes are visible",
    changed: "what was visible has changed",
    cut: "after a clean end",
    not_completed: "not completed at the start",
    taken_back: "are not any more",
    committed_otherwise: "with another content",
    gap: "should stand",
}


def run():
    """Runs all cases; returns the exit code."""
    failed = 0
    for case, words in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            job = Folder(folder)
            case(job)
            found = job.found()
        is_noticed = words in found if words else not found
        if not is_noticed:
            failed += 1
            print(f"FAILED: {case.__name__}: {found or 'nothing noticed'}")
    print(f"{len(CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0
