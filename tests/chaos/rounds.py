"""Plays one job from its first start until it is complete, with everything that befalls it, and counts what happened."""

import collections
import re
import signal
import statistics
import time

from job import Failure, Progress, send, wait_until

KINDS = {"group": 45, "one": 20, "supervisor": 10, "stop": 10, "term": 15}
KILLS = {"group", "one", "supervisor"}
# The supervisor waits twice as long after each failure.
MOST_IN_A_SESSION = 3
# Seconds; a process that is stopped for longer may be taken for dead by the others.
SILENCE = 2.5
# What a process says when it ends by itself because of what it found.
BROKEN = re.compile(r"panicked at|signal 6|exit code 3")
AGAIN = re.compile(r"starting again in")
# Must be settled first when other ticks have been committed without it.
CHANGED = ["--set", "engine.max_ticks_in_flight=6"]


class Tally:
    """What has happened in all jobs."""

    def __init__(self):
        self.acts, self.recoveries = collections.Counter(), []
        self.rounds = self.starts = self.restarts = self.looks = self.replays = 0
        self.expected = self.got = self.lost = self.doubled = self.wrong = 0
        self.problems = []

    @property
    def kills(self):
        """SIGKILLs so far."""
        return sum(self.acts[kind] for kind in KILLS)

    def take(self, outputs, job):
        """Counts a job that is complete."""
        lost, first = outputs.lost()
        self.expected += sum(count.total() for count in outputs.reference.count.values())
        self.got += outputs.got
        self.lost += lost
        self.doubled += outputs.doubled
        self.wrong += outputs.wrong
        self.problems += [f"{job.folder}: {problem}" for problem in outputs.problems + first]

    def fail(self, outputs, job, failure):
        """Counts a job that cannot be judged to its end."""
        self.problems += [f"{job.folder}: {problem}" for problem in outputs.problems]
        self.problems.append(f"{job.folder}: {failure}; the end of what it said:\n{job.words()[-2000:]}")

    def report(self, what, seconds):
        """Prints all of it; returns the exit code."""
        print(f"{what}; {seconds:.0f} s")
        print(f"{self.starts} starts and {self.restarts} by supervisors, {self.looks} looks, {self.replays} ticks replayed")
        wrong = f"{self.lost} lost, {self.doubled} doubled, {self.wrong} wrong"
        print(f"lines: {self.expected} expected, {self.got} got, {wrong}")
        if self.recoveries:
            middle, most = statistics.median(self.recoveries), max(self.recoveries)
            print(f"recovery to the first new commit: p50 {middle:.2f} s, max {most:.2f} s, of {len(self.recoveries)}")
        for problem in self.problems[:20]:
            print(f"PROBLEM {problem}")
        print("passed" if not self.problems else f"FAILED: {len(self.problems)} problems")
        return 1 if self.problems else 0


class Round:
    """One job. `is_enough` says when nothing more is to befall it."""

    def __init__(self, job, outputs, draw, tally, is_enough):
        self.job, self.outputs, self.draw, self.tally, self.is_enough = job, outputs, draw, tally, is_enough
        self.failures = 0  # after which the supervisor may start again

    def look(self, is_idle=False):
        """Compares what is visible now that no process lives."""
        self.tally.looks += 1
        self.outputs.compare(self.outputs.gather(self.job.state), is_idle)

    def play(self):
        """From the first start to the end."""
        while not self.session():
            self.look()
        self.look(is_idle=True)
        if not self.outputs.state.complete:
            self.outputs.problems.append("the log does not say that the run is complete")
        said = self.job.words()
        self.outputs.problems += [f"said: {line}" for line in said.splitlines() if BROKEN.search(line)]
        restarts = len(AGAIN.findall(said))
        self.tally.restarts += restarts
        if restarts > self.failures:
            self.outputs.problems.append(f"started again {restarts} times, after {self.failures} failures that were made")

    def session(self):
        """A start, and what befalls it; whether the job has come to its end."""
        draw, tally = self.draw, self.tally
        flags = [*self.job.keeps, *(CHANGED if draw.random() < 0.1 else [])]
        progress = Progress(self.job.state)
        tally.starts += 1
        tally.replays += self.outputs.state.behind_snapshot
        with self.job.start(draw.randint(1, 3), draw.choice([1, 1, 2, 3]), *flags) as running:
            for act in range(MOST_IN_A_SESSION + 1):
                if self.is_enough():
                    break
                if self.pause(running, progress):
                    return self.ended(running)
                kind = draw.choices(list(KINDS), KINDS.values())[0]
                if act == MOST_IN_A_SESSION and kind in ("one", "stop"):
                    kind = "group"
                progress = Progress(self.job.state) if kind == "one" else progress
                if self.befall(kind, running):
                    return False
                # The time of a stop is no time of recovery.
                progress.is_noted |= kind == "stop"
            while running.code() is None and time.monotonic() - running.started < 300 and not self.note(progress):
                time.sleep(0.005)
            return self.ended(running)

    def ended(self, running):
        """It has come to its end, or will, without a reason to fail."""
        code = running.wait()
        if code != 0:
            raise Failure(f"exit code {code} without a reason")
        return True

    def note(self, progress):
        """Whether something new has been committed; how long that took is noted once."""
        if not progress.is_noted and progress.has_committed():
            progress.is_noted = True
            self.tally.recoveries.append(time.monotonic() - progress.since)
        return progress.is_noted

    def pause(self, running, progress):
        """Lets it run for a moment: into its start or its recovery, until the first commit and a little more, or for long.
        Whether it has ended meanwhile."""
        moments = {"start": (0, 0.1), "middle": (0.05, 0.5), "commit": (0, 0.15), "long": (0.5, 2.0)}
        moment = self.draw.choices(list(moments), [30, 30, 30, 10])[0]
        span, begin = self.draw.uniform(*moments[moment]), time.monotonic()
        end = begin + span
        waits = moment == "commit" and not progress.is_noted
        while running.code() is None:
            now = time.monotonic()
            if self.note(progress) and waits:
                waits, end = False, now + span
            if now >= end and (not waits or now >= begin + 20):
                return False
            time.sleep(0.004)
        return True

    def befall(self, kind, running):
        """Does it; whether the start is over."""
        children = running.children()
        if running.code() is not None or (kind in ("one", "stop") and not children):
            return False
        self.tally.acts[kind] += 1
        if kind == "group":
            running.kill_all()
        elif kind == "supervisor":
            running.kill_supervisor()
        elif kind == "one":
            self.failures += 1
            running.kill_one(self.draw.choice(children))
            self.look_quickly(running)
        elif kind == "stop":
            pid, seconds = self.draw.choice([running.pid, *children]), 0.2 * 30 ** self.draw.random()
            self.failures += seconds > SILENCE
            send(pid, signal.SIGSTOP)
            time.sleep(seconds)
            send(pid, signal.SIGCONT)
        else:
            code = running.ask_to_stop()
            # Before it handles signals, or between a failure and the next start, there is nothing to stop cleanly; nor when a
            # process was killed so shortly before that its supervisor had not seen it.
            was_killed = code == 1 and self.job.words().rstrip().endswith("ended with signal 9; the job has ended")
            has_begun = code not in (-signal.SIGTERM, 128 + signal.SIGTERM) or children
            if code != 0 and has_begun and not was_killed:
                raise Failure(f"exit code {code} after SIGTERM")
            self.look(is_idle=code == 0)
        return kind not in ("one", "stop")

    def look_quickly(self, running):
        """A look between the end of all processes and their next start; one that is too late sees nothing."""
        if running.children():
            return
        gathered = self.outputs.gather(self.job.state)
        if not running.children():
            self.tally.looks += 1
            self.outputs.compare(gathered)
            self.tally.replays += self.outputs.state.behind_snapshot
