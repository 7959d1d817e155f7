#!/usr/bin/env python3
"""Runs the engine over every case in every way that must not matter, and compares: runs with each other, one with the oracle.

    matrix.py --binary target/release/meterflow [--work target/e2e] [CASE]...

A case is tests/cases/NAME.toml: a configuration that reads `in/...` and writes `out/...`, with lines in front that say
where its input comes from:

    #: simulate FLAGS            meterflow simulate FLAGS
    #: hostile KEY=VALUE...      inputs.hostile
    #: awkward | awkward_csv     inputs.awkward, inputs.awkward_csv
    #: household                 tests/fixtures/household.jsonl.gz
    #: then csv | messy | gzip | zstd | split N      in this order, as many as needed
    #: oracle FLAGS              more arguments for compare.py (or `oracle none`: the runs are only compared with each other)
    #: dataflow NAME             what to run; anomaly unless given
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import tomllib

import inputs
import settings

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.dirname(os.path.abspath(__file__))
TINY = ["--set", "engine.block_size=4KiB", "--set", "engine.tick_size=16KiB"]
LARGE = ["--set", "engine.block_size=16MiB", "--set", "engine.tick_size=64MiB"]
# The first is the one that all others are compared with. Different ticks publish revisions at other times.
RUNS = {
    "one": ["-w", "1"],
    "two": ["-w", "2"],
    "three": ["-w", "3"],
    "processes": ["-n", "2", "-w", "1"],
    "tiny": ["-w", "1", *TINY],
    "tiny-two": ["-w", "2", *TINY],
    "large": ["-w", "2", *LARGE],
}
# The oracle judges a run of many ticks: with one tick only there is nothing to revise.
JUDGED = "tiny-two"
SINKS = {"anomalies": "anomalies", "stats": "stats", "late": "late", "dead_letters": "dead"}
TIME_LIMIT = 300


class Failed(Exception):
    """A case went wrong; the message is what to print."""


class Case:
    """A file of tests/cases."""

    def __init__(self, path):
        self.path = path
        self.name = os.path.splitext(os.path.basename(path))[0]
        self.make, self.then, self.oracle, self.dataflow = None, [], [], "anomaly"
        with open(path, encoding="utf-8") as file:
            for line in file:
                if not line.startswith("#:"):
                    continue
                word, *rest = shlex.split(line[2:])
                if word == "then":
                    self.then.append(rest)
                elif word == "oracle":
                    self.oracle = rest
                elif word == "dataflow":
                    self.dataflow = rest[0]
                else:
                    self.make = (word, rest)
        if not self.make:
            raise Failed(f"{path}: no `#:` line says where the input comes from")

        with open(path, "rb") as file:
            self.tree = tomllib.load(file)
        windows = self.tree.get("windows", {})
        self.revised = settings.duration(windows.get("allowed_lateness", "0s")) > 0


def make_input(case, binary, folder):
    """Writes the input of a case to `folder`."""
    os.makedirs(folder)
    word, rest = case.make
    if word == "simulate":
        out = os.path.join(folder, "..", "simulated.jsonl")
        execute([binary, "simulate", *rest, "--out", out], folder, "simulate")
        with open(out, "rb") as file:
            lines = file.read().splitlines()
    else:
        arguments = dict(pair.split("=") for pair in rest)
        lines = list(getattr(inputs, word)(**{key: json.loads(value) for key, value in arguments.items()}))
    write_files(lines, case.then, folder)


def write_files(lines, steps, folder):
    """Applies the `then` steps and writes the files."""
    files, form, packing = {"readings.jsonl": lines}, inputs.plain, None
    for step, *rest in steps:
        if step == "split":
            files = inputs.split(lines, int(rest[0]))
        elif step == "csv":
            files = {name: list(inputs.to_csv(of)) for name, of in files.items()}
        elif step == "messy":
            form = inputs.messy
        elif step in ("gzip", "zstd"):
            packing = step
        else:
            raise Failed(f"unknown step {step!r}")
    for name, of in files.items():
        data = form(of)
        with open(os.path.join(folder, name), "wb") as file:
            file.write(inputs.compress(data, packing) if packing else data)


def execute(command, folder, what):
    """Runs a command in a folder; its output is shown when it fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=TIME_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"{what}: no end after {TIME_LIMIT} s: {shlex.join(command)}") from None
    if done.returncode:
        tail = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
        raise Failed(f"{what}: exit code {done.returncode}: {shlex.join(command)}\n{tail}")
    return done.stdout.decode()


def run_all(case, binary, folder):
    """Runs a case in every way; the folder of each run."""
    folders = {}
    for name, flags in RUNS.items():
        where = folders[name] = os.path.join(folder, name)
        os.makedirs(os.path.join(where, "out"))
        os.symlink("../in", os.path.join(where, "in"))
        command = [binary, "run", case.dataflow, "--config", case.path, *flags, "--summary", "summary.json"]
        execute(command, where, f"run {name}")
    return folders


def outputs_of(case):
    """The paths of the sinks, by the name that compare.py has for them."""
    sinks = case.tree.get("sinks", {})
    return {SINKS[name]: sink["path"] for name, sink in sinks.items()}


def compare_runs(case, folders):
    """Every run against the first: the same lines, the same sums."""
    first, *others = folders
    for part, path in outputs_of(case).items():
        for other in others:
            other_ticks = other.startswith(("tiny", "large"))
            truth = ["--truth"] if part == "stats" and case.revised and other_ticks else []
            command = [sys.executable, os.path.join(HERE, "same.py"), *truth, os.path.join(folders[first], path)]
            execute([*command, os.path.join(folders[other], path)], folders[first], f"{part} of {first} and {other}")
    sums = {name: stable_summary(os.path.join(folder, "summary.json"), case.revised) for name, folder in folders.items()}
    for other in others:
        if sums[other] != sums[first]:
            raise Failed(f"the summaries of {first} and {other} differ:\n{sums[first]}\n{sums[other]}")


def stable_summary(path, revised):
    """What of a summary is the same in every run."""
    with open(path, encoding="utf-8") as file:
        summary = json.load(file)
    stable = {key: summary.get(key) for key in ("sources", "windows", "revisions", "anomalies", "event_time")}
    if revised:
        del stable["windows"], stable["revisions"]  # how often a window is published depends on where ticks end
    stable["archived rows"] = None if revised else summary.get("archive", {}).get("rows")
    return json.dumps(stable, sort_keys=True)


def compare_with_oracle(case, folder):
    if case.oracle == ["none"]:
        return "not compared with the oracle"
    command = [sys.executable, os.path.join(HERE, "compare.py"), case.path, *case.oracle, "--summary", "summary.json"]
    for part, path in outputs_of(case).items():
        command += [f"--{part}", path]
    return execute(command, folder, "oracle").strip()


def run_case(case, binary, work):
    """Runs and compares one case; what to print about it."""
    folder = os.path.join(work, case.name)
    shutil.rmtree(folder, ignore_errors=True)
    begin = time.monotonic()
    make_input(case, binary, os.path.join(folder, "in"))
    folders = run_all(case, binary, folder)
    compare_runs(case, folders)
    said = compare_with_oracle(case, folders[JUDGED])
    shutil.rmtree(folder)
    return f"{time.monotonic() - begin:.1f} s, {len(RUNS)} runs alike; {said}"


def main():
    parser = argparse.ArgumentParser(description="Runs the cases of tests/cases in every way that must not matter.")
    parser.add_argument("--binary", required=True)
    parser.add_argument("--work", default="target/e2e")
    parser.add_argument("cases", nargs="*", help="names; all unless given")
    arguments = parser.parse_args()
    folder = os.path.join(ROOT, "tests", "cases")
    names = arguments.cases or sorted(name[:-5] for name in os.listdir(folder) if name.endswith(".toml"))
    binary, work = os.path.abspath(arguments.binary), os.path.abspath(arguments.work)
    failed = 0
    for name in names:
        try:
            print(f"{name}: {run_case(Case(os.path.join(folder, name + '.toml')), binary, work)}", flush=True)
        except Failed as failure:
            failed += 1
            print(f"{name}: FAILED, its files are in {os.path.join(work, name)}\n{failure}", flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not names else 0)


if __name__ == "__main__":
    main()
