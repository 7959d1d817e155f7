#!/usr/bin/env python3
"""Compares the lines that two runs wrote: the same lines, and those of one meter in the same order.

    same.py [--truth] A B

A and B are files or folders of files. --truth: only the highest revision of each window, without its number, since how
often a window is published depends on where ticks end. Exits 1 and prints the first differences.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict

from compare import files
from settings import Refused

SHOWN = 5


def load(path):
    """The lines of a file or folder, as they are."""
    found = []
    for file in files(path):
        with open(file, "rb") as opened:
            found += opened.read().splitlines()
    return found


def meter_of(raw):
    """The meter of a line; None for dead letters, whose order is not promised."""
    line = json.loads(raw)
    return line.get("meter") or line.get("reading", {}).get("meter_id")


def by_meter(raws):
    result = defaultdict(list)
    for raw in raws:
        result[meter_of(raw)].append(raw)
    return result


def truth(raws):
    """The highest revision of each window, without the number; withdrawn sessions are gone."""
    final = {}
    for line in map(json.loads, raws):
        key = (line["meter"], line["channel"], line["window_start"])
        if key not in final or line["revision"] > final[key]["revision"]:
            final[key] = line
    for line in final.values():
        del line["revision"]
    return sorted(json.dumps(line).encode() for line in final.values() if line["count"])


def differences(left, right):
    """Readable differences between two lists of lines."""
    more, fewer = Counter(left) - Counter(right), Counter(right) - Counter(left)
    found = [f"only in the first ({count}x): {raw[:300]!r}" for raw, count in more.items()]
    found += [f"only in the second ({count}x): {raw[:300]!r}" for raw, count in fewer.items()]
    if found:
        return found
    left, right = by_meter(left), by_meter(right)
    return [f"another order of the lines of {meter}" for meter in left if meter is not None and left[meter] != right[meter]]


def main():
    parser = argparse.ArgumentParser(description="Compares the lines that two runs wrote.")
    parser.add_argument("--truth", action="store_true")
    parser.add_argument("left")
    parser.add_argument("right")
    arguments = parser.parse_args()
    try:
        left, right = load(arguments.left), load(arguments.right)
    except Refused as refused:
        sys.exit(f"same: {refused}")
    found = differences(truth(left), truth(right)) if arguments.truth else differences(left, right)
    for line in found[:SHOWN]:
        print(line)
    if found:
        print(f"{len(found)} differences between {arguments.left} and {arguments.right}")
        sys.exit(1)


if __name__ == "__main__":
    main()
