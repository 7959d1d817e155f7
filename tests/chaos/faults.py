"""Kills a job at each fault point of the program: once before and once after each effect that lasts."""

import os
import re

from job import Failure, Job
from outputs import Outputs

LIST = "src/fault.rs"
# Points that are only come to, or come to with something to do, when there is something to recover.
IN_RECOVERY = ("file.complete.", "trim.remove")
# Leaves ticks that are committed and not shown.
UNSHOWN = "file.show.before:20"


def points(root):
    """The names of all fault points, from the program's source."""
    with open(os.path.join(root, LIST), encoding="utf-8") as file:
        listed = re.search(r"pub const ALL: &\[&str\] = &\[(.*?)\];", file.read(), re.DOTALL)
    return re.findall(r'"([a-z.]+)"', listed[1])


class Faults:
    """Runs a job for each point and count."""

    def __init__(self, make_job, reference, draw, tally, folder):
        self.make_job, self.reference, self.draw, self.tally = make_job, reference, draw, tally
        self.hits, self.killed = os.path.join(folder, "hits"), set()

    def play(self, names, counts):
        """All points with all counts; a point that is never come to, or that never kills, is a problem."""
        for name in names:
            for number, count in enumerate(counts):
                self.strike(name, count, is_recovering=name.startswith(IN_RECOVERY) or number % 3 == 1)
        hit = set()
        if os.path.exists(self.hits):
            with open(self.hits, encoding="utf-8") as file:
                hit = {line.split()[0] for line in file if line.strip()}
        for name in names:
            if name not in hit:
                self.tally.problems.append(f"{name}: no run has come to this point")
            elif name not in self.killed:
                self.tally.problems.append(f"{name}: no process was killed there")

    def strike(self, name, count, is_recovering):
        """A job that is killed at the point, and then runs to its end."""
        job = self.make_job()
        outputs = Outputs(job.out, self.reference)
        self.tally.rounds += 1
        try:
            if is_recovering and self.run(job, outputs, UNSHOWN) == 0:
                raise Failure(f"{UNSHOWN} has not killed anything")
            code = self.run(job, outputs, f"{name}:{count}")
            if code != 0:
                self.tally.acts["fault"] += 1
                self.killed.add(name)
                if self.run(job, outputs, None) != 0:
                    raise Failure("it does not run to its end")
            if not outputs.state.complete:
                raise Failure("the log does not say that the run is complete")
            self.tally.take(outputs, job)
        except Failure as failure:
            self.tally.fail(outputs, job, f"{name}:{count}: {failure}")

    def run(self, job, outputs, fault):
        """A start with a fault, or without one; returns the exit code."""
        environment = {"METERFLOW_FAULT_HITS": self.hits, **({"METERFLOW_FAULT": fault} if fault else {})}
        self.tally.starts += 1
        self.tally.replays += outputs.state.behind_snapshot
        before = len(job.words())
        flags = (*job.keeps, "--restarts", "0")
        code = job.run(self.draw.randint(1, 2), self.draw.choice([1, 1, 2]), *flags, environment=environment)
        said = job.words()[before:]
        if code != 0 and (fault is None or "ended with signal 9" not in said):
            raise Failure(f"exit code {code}, not because of a kill")
        self.tally.looks += 1
        outputs.compare(outputs.gather(job.state), is_idle=code == 0)
        return code
