//! A decoded block: readings dealt to the workers that own their meters, then judged in the partition's order. Pure.
//!
//! Decoding runs on any thread; judging is serial per partition, but takes one comparison for a block without late records.

use crate::codec::{Dead, Record, Sink};
use crate::connectors::Block;
use crate::event_time::{Clock, Rules, Times};
use crate::model::control::SourceCounts;
use crate::model::dead::{DeadLetter, RAW_LIMIT, Reason};
use crate::model::meter::{MeterKey, group_of, owner_of};
use crate::model::reading::Batch;

/// The readings and dead letters of a block.
pub struct Decoded {
    /// The bytes, kept until the block is judged: a record may yet become a dead letter.
    pub block: Block,
    /// Readings by owning worker, in the order of their offsets.
    pub batches: Vec<Batch>,
    /// The owner of each reading, in order; empty with a single worker.
    owners: Vec<u16>,
    times: Times,
    /// Records that could not be decoded.
    pub dead: Vec<DeadLetter>,
}

/// What judging adds.
#[derive(Default)]
pub struct Judged {
    /// Late readings by owning worker; empty when there are none.
    pub late: Vec<Batch>,
    /// What became of the records.
    pub counts: SourceCounts,
    /// Records decoded.
    pub decoded: u64,
}

impl Decoded {
    /// Room for the readings of `block`, which belong to `workers` workers.
    pub fn new(block: Block, partition: u32, channels: usize, workers: usize) -> Decoded {
        // A guess that is rarely short: records of under 100 bytes are unusual.
        let expected = block.lines().len() / (100 * workers) + 16;
        let batch = || {
            let mut batch = Batch::new(partition, channels, block.base);
            batch.rows.reserve(expected);
            batch.values.reserve(expected * channels);
            batch
        };
        let batches = (0..workers).map(|_| batch()).collect();
        Decoded { block, batches, owners: Vec::new(), times: Times::default(), dead: Vec::new() }
    }

    /// Judges the block with the clock of its partition, which has seen all earlier blocks. `now` is the tick's time.
    pub fn judge(&mut self, clock: &mut Clock, rules: &Rules, now: i64) -> Judged {
        let mut judged = Judged::default();
        let latest = rules.future_limit.map_or(i64::MAX, |limit| now.saturating_add(limit));
        if self.times.max > latest || !clock.advance_all(rules, &self.times) {
            self.judge_each(clock, rules, latest, &mut judged);
        }
        let kept: usize = self.batches.iter().map(Batch::len).sum();
        let late: usize = judged.late.iter().map(Batch::len).sum();
        judged.decoded = (kept + late) as u64;
        judged.counts.late = late as u64;
        judged.counts.read = judged.decoded + self.dead.len() as u64;
        for letter in &self.dead {
            judged.counts.dead[letter.reason as usize] += 1;
        }
        if !self.times.is_empty() {
            judged.counts.see(self.times.min, self.times.max);
        }
        judged
    }

    fn judge_each(&mut self, clock: &mut Clock, rules: &Rules, latest: i64, judged: &mut Judged) {
        let readings: usize = self.batches.iter().map(Batch::len).sum();
        let mut next = vec![0; self.batches.len()];
        let mut keep: Vec<Vec<bool>> = self.batches.iter().map(|batch| vec![true; batch.len()]).collect();
        self.times = Times::default();
        for position in 0..readings {
            let owner = self.owners.get(position).map_or(0, |owner| *owner as usize);
            let index = next[owner];
            next[owner] += 1;
            let time = self.batches[owner].rows[index].time;
            if time > latest {
                keep[owner][index] = false;
                let offset = self.batches[owner].base + u64::from(self.batches[owner].rows[index].offset);
                self.dead.push(self.future(offset, time, latest));
                continue;
            }
            if clock.is_late(rules, time) {
                keep[owner][index] = false;
                let newest = clock.newest().unwrap_or(time);
                self.push_late(&mut judged.late, owner, index, newest - rules.out_of_orderness);
            } else {
                self.times.add(time);
            }
            clock.advance(rules, time);
        }
        self.dead.sort_by_key(|letter| letter.offset);
        for (batch, keep) in self.batches.iter_mut().zip(&keep) {
            batch.retain(keep);
        }
    }

    fn push_late(&self, late: &mut Vec<Batch>, owner: usize, index: usize, watermark: i64) {
        let from = &self.batches[owner];
        if late.is_empty() {
            *late = self.batches.iter().map(|b| Batch::new(b.partition, b.channels as usize, b.base)).collect();
        }
        late[owner].push_copy(from.reading(index));
        late[owner].watermarks.push(watermark);
    }

    fn future(&self, offset: u64, time: i64, latest: i64) -> DeadLetter {
        let rest = &self.block.lines()[(offset - self.block.base) as usize..];
        let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let ahead = time.saturating_sub(latest);
        DeadLetter {
            partition: self.batches[0].partition,
            offset,
            reason: Reason::Future,
            message: format!("{ahead} ms beyond the future_limit: is the meter's clock or the time_unit wrong?"),
            raw: line[..line.len().min(RAW_LIMIT)].to_vec(),
            raw_bytes: line.len() as u64,
        }
    }
}

/// Fills a [`Decoded`] from a decoder.
pub struct Dealer<'a> {
    batches: &'a mut [Batch],
    owners: &'a mut Vec<u16>,
    times: &'a mut Times,
    dead: &'a mut Vec<DeadLetter>,
    partition: u32,
}

impl Decoded {
    /// The block's bytes, and a sink that takes what a decoder makes of them.
    pub fn parts(&mut self) -> (&Block, Dealer<'_>) {
        let partition = self.batches[0].partition;
        let Decoded { block, batches, owners, times, dead } = self;
        (block, Dealer { batches, owners, times, dead, partition })
    }
}

impl Sink for Dealer<'_> {
    #[inline]
    fn reading(&mut self, record: &Record) {
        self.times.add(record.time);
        let (batch, meter) = match &mut *self.batches {
            [only] => {
                let meter = MeterKey::new(record.meter, &mut only.heap);
                (only, meter)
            }
            several => {
                // The hash chooses the batch to whose heap a long id's bytes go.
                let hash = MeterKey::hash_of(record.meter);
                let owner = owner_of(group_of(hash), several.len());
                self.owners.push(owner as u16);
                let batch = &mut several[owner];
                let meter = MeterKey::with_hash(record.meter, hash, &mut batch.heap);
                (batch, meter)
            }
        };
        let values = &record.values[..batch.channels as usize];
        batch.push_key(meter, record.time, record.offset, record.status, record.present, values);
    }

    fn dead(&mut self, dead: Dead) {
        self.dead.push(DeadLetter {
            partition: self.partition,
            offset: dead.offset,
            reason: dead.reason,
            message: dead.message,
            raw: dead.raw[..dead.raw.len().min(RAW_LIMIT)].to_vec(),
            raw_bytes: dead.raw_bytes,
        });
    }
}
