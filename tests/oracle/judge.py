"""Event time: which records are late, duplicate, dead or used (contract, section 4)."""

from collections import Counter
from dataclasses import dataclass, field

from records import Dead, read
from settings import Refused

JUMPS_IN_A_ROW = 16


@dataclass(slots=True)
class Late:
    """A late reading, with newest - out_of_orderness when it was read."""

    reading: object
    watermark: int


@dataclass
class Judged:
    """The records of a source by what became of them, each list in the order of partition names and offsets."""

    used: list = field(default_factory=list)
    late: list = field(default_factory=list)
    duplicate: list = field(default_factory=list)
    dead: list = field(default_factory=list)

    def counts(self):
        """read, used, late, duplicate, dead."""
        counts = {name: len(getattr(self, name)) for name in ("used", "late", "duplicate", "dead")}
        return {"read": sum(counts.values()), **counts}


class Newest:
    """The newest event time of a partition; None until it is known."""

    def __init__(self, max_jump):
        self.max_jump = max_jump
        self.value = None
        self.jumps = []

    def take(self, time):
        """Takes in the time of the next decoded record."""
        if self.max_jump is None:
            self.value = time if self.value is None else max(self.value, time)
            return
        if self.value is None or time > self.value + self.max_jump:
            self.jumps.append(time)
            if len(self.jumps) == JUMPS_IN_A_ROW:
                self.value = min(self.jumps)
                self.jumps = []
            return
        self.jumps = []
        self.value = max(self.value, time)


def judge(source, allowed_lateness, now=None, name_order=False):
    """Judges every record of a source. `now`: ms at the start of the run, for `future_limit`."""
    if source.future_limit is not None and now is None:
        raise Refused("future_limit of files depends on when the run started: set it to off, or give --now MS")
    judged = Judged()
    partition, newest, remembered = None, None, set()
    partitions_of = {}
    for record in read(source):
        if record.partition != partition:
            partition, newest = record.partition, Newest(source.max_jump)
        if isinstance(record, Dead):
            judged.dead.append(record)
            continue
        if source.future_limit is not None and record.time > now + source.future_limit:
            judged.dead.append(Dead(partition, record.offset, frozenset({"future"}), None))
            continue
        before = newest.value
        newest.take(record.time)
        if before is not None and record.time < before - source.out_of_orderness - allowed_lateness:
            judged.late.append(Late(record, before - source.out_of_orderness))
            continue
        partitions_of.setdefault(record.meter, set()).add(partition)
        if source.drop_duplicates:
            # A record that repeats a forgotten reading has its time, so it is late itself: nothing need be forgotten here.
            key = (record.meter, record.time, frozenset(record.values))
            if key in remembered:
                judged.duplicate.append(record)
                continue
            remembered.add(key)
        judged.used.append(record)
    several = Counter({meter: len(of) for meter, of in partitions_of.items() if len(of) > 1})
    if several and source.drop_duplicates and not name_order:
        refuse_order(several, "which of two duplicates is used")
    return judged, several


def refuse_order(several, what):
    """Across partitions the canonical order depends on how ticks are cut, which the oracle does not know."""
    meter, count = several.most_common(1)[0]
    raise Refused(
        f"meter {meter!r} is in {count} partitions: {what} depends on how ticks are cut. Put each meter in one "
        "partition, or give --name-order where partitions follow each other in event time as their names do"
    )
