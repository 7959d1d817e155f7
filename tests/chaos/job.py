"""Runs of the program: their input and configuration, starts, processes, and the signals that they are given."""

import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import time

import state as states

LIMIT = 120  # seconds after which a run is taken to hang

CONFIGURATION = """
[sources.readings]
kind = "file"
path = "{data}/*"
out_of_orderness = "10s"
[windows]
kind = "sliding"
size = "5m"
slide = "1m"
allowed_lateness = "30s"
[detectors.moving_average]
channels = ["voltage", "current"]
[detectors.limits]
voltage = {{ low = 215.0, high = 245.0 }}
[detectors.status]
[sinks.anomalies]
kind = "file"
path = "{folder}/out/anomalies.jsonl"
[sinks.stats]
kind = "file"
path = "{folder}/out/stats/"
[sinks.late]
kind = "file"
path = "{folder}/out/late.jsonl"
[sinks.dead_letters]
kind = "file"
path = "{folder}/out/dead_letters.jsonl"
[engine]
block_size = "4KiB"
tick_size = "8KiB"
snapshot_interval = "100ms"
"""
ARCHIVE = """
[archive]
url = "file://{folder}/archive"
kinds = ["readings", "stats", "anomalies"]
max_size = "64KiB"
"""


class Failure(Exception):
    """The program did what it must not do; nothing that comes after it can be judged."""


def make_input(binary, folder, duration):
    """Readings of a fleet with everything that can be wrong with them: three partitions, one of them compressed."""
    shares = {"disorder-share": "0.05", "late-share": "0.003", "malformed-share": "0.002"}
    fleet = {"meters": "100", "interval": "5s", "duration": duration, "seed": "7", "partitions": "3", "lateness": "4m"}
    faults = {"faults": "spike=4,sag=1,swap=1,failure=2"}
    flags = [word for key, value in {**fleet, **shares, **faults}.items() for word in (f"--{key}", value)]
    subprocess.run([binary, "simulate", *flags, "--out", f"{folder}/"], check=True, stdout=subprocess.DEVNULL)
    plain = os.path.join(folder, sorted(os.listdir(folder))[1])
    with open(plain, "rb") as lines, gzip.open(plain + ".gz", "wb", compresslevel=1) as packed:
        shutil.copyfileobj(lines, packed)
    os.remove(plain)


class Job:
    """A folder in which a job runs, with and without interruptions."""

    def __init__(self, binary, data, folder, archive=False):
        self.binary, self.folder, self.archive = binary, folder, archive
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.out, self.state = os.path.join(folder, "out"), os.path.join(folder, "state")
        self.keeps = ["--state", self.state]
        self.said, self.summary = os.path.join(folder, "said"), os.path.join(folder, "summary.json")
        with open(os.path.join(folder, "meterflow.toml"), "w", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(data=data, folder=folder))
            file.write(ARCHIVE.format(folder=folder) if archive else "")

    def start(self, threads, processes, *flags, environment=None):
        """Starts it; it keeps state if `flags` say so."""
        command = [self.binary, "run", "anomaly", "--config", os.path.join(self.folder, "meterflow.toml")]
        command += ["-w", str(threads), "-n", str(processes), "--summary", self.summary, *flags]
        with open(self.said, "ab") as said:
            said.write(f"$ {' '.join(command)}\n".encode())
            said.flush()
            return Running(subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
                env={**os.environ, **(environment or {})},
            ))

    def run(self, threads, processes, *flags, environment=None):
        """Runs it to its end; returns the exit code."""
        running = self.start(threads, processes, *flags, environment=environment)
        with running:
            return running.wait()

    def words(self):
        """All that its runs have said."""
        return states.contents(self.said).decode(errors="replace")

    def counts(self):
        """The summary without what depends on the machine."""
        with open(self.summary, encoding="utf-8") as file:
            summary = json.load(file)
        return {key: value for key, value in summary.items() if key not in ("seconds", "cpu_seconds", "archive")}


def is_alive(pid):
    """Whether a process runs, or is stopped; not one that has ended and waits to be taken note of."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(is_true, seconds):
    """Waits for it; whether it came true."""
    end = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


class Running:
    """A supervisor and the processes that it has started. As a context it leaves none of them behind."""

    def __init__(self, process):
        self.process, self.pid = process, process.pid
        self.started = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill_all()

    def children(self):
        """The processes of the job that live now."""
        try:
            with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="utf-8") as file:
                return [pid for pid in map(int, file.read().split()) if is_alive(pid)]
        except (FileNotFoundError, ProcessLookupError):
            return []

    def code(self):
        """The exit code; none while it runs."""
        return self.process.poll()

    def wait(self):
        """Waits for its end; returns the exit code."""
        try:
            return self.process.wait(LIMIT)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"no end within {LIMIT} s") from error

    def kill_all(self):
        """SIGKILL to every process at once; returns when none is left."""
        self._kill(lambda: os.killpg(self.pid, signal.SIGKILL))

    def kill_supervisor(self):
        """SIGKILL to the supervisor alone: its processes must not outlive it."""
        self._kill(lambda: os.kill(self.pid, signal.SIGKILL))

    def _kill(self, kill):
        children = self.children()
        # Once it has been waited for, its number may be somebody else's.
        if self.code() is None:
            kill()
            self.process.wait(LIMIT)
        if not wait_until(lambda: not any(map(is_alive, children)), 10):
            raise Failure("processes have outlived their supervisor")

    def kill_one(self, pid):
        """SIGKILL to one process; returns when the supervisor has ended the others."""
        children = self.children()
        send(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, children)), 10)

    def ask_to_stop(self):
        """SIGTERM to the supervisor; waits for the end and returns the exit code."""
        send(self.pid, signal.SIGTERM)
        return self.wait()


def send(pid, number):
    """Sends a signal to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class Progress:
    """Watches the log from a moment on: when does the first incarnation after it commit something?"""

    def __init__(self, folder):
        self.folder = folder
        self.before = self._newest()[0]
        self.since, self.is_noted = time.monotonic(), False

    def _newest(self):
        names = os.listdir(self.folder) if os.path.isdir(self.folder) else []
        found = [tuple(map(int, match.groups())) for match in map(states.LOG.fullmatch, names) if match]
        return max(found, default=(0, 0))

    def has_committed(self):
        """Whether a later incarnation has a record behind the head of its log."""
        incarnation, sequence = self._newest()
        if incarnation <= self.before:
            return False
        if sequence > 0:
            return True
        data = states.contents(os.path.join(self.folder, f"log-{incarnation:08}-{sequence:06}"))
        return any(kind in (states.COMMIT, states.COMPLETE) for kind, _, _ in states.records(data))
