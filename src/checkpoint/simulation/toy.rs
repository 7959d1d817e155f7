//! A job that is quickly computed: a sequence of records, a count and a sum by group, and a line for each record.

use crate::checkpoint::lines_hash;
use crate::model::commit::Shown;
use std::collections::BTreeMap;

/// Key groups of the toy job.
pub const GROUPS: u16 = 5;

/// The file of all lines, in order.
pub const ONE: &str = "one.jsonl";

/// The count and the sum of each group, and which record is next.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Fold {
    pub groups: BTreeMap<u16, [u64; 2]>,
    pub next: u64,
}

impl Fold {
    /// The state after the first records.
    pub fn after(records: u64) -> Fold {
        let mut fold = Fold::default();
        (0..records).for_each(|_| drop(fold.record()));
        fold
    }

    /// Takes the next record and returns its group and its line.
    pub fn record(&mut self) -> (u16, String) {
        let record = self.next;
        self.next += 1;
        // A record in five brings the same group again and again.
        let group = (record.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u16 % GROUPS;
        let [count, sum] = self.groups.entry(group).or_default();
        *count += 1;
        *sum = sum.wrapping_mul(31).wrapping_add(record);
        (group, format!("{{\"record\":{record},\"group\":{group},\"count\":{count},\"sum\":{sum}}}\n"))
    }

    /// Takes `count` records and returns their lines by file, for so many writers. Marks groups that change.
    pub fn tick(&mut self, count: u64, writers: u16, changed: &mut [bool]) -> BTreeMap<String, Vec<u8>> {
        let mut lines: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for _ in 0..count {
            let (group, line) = self.record();
            changed[group as usize] = true;
            for path in [ONE.to_owned(), part(owner(group, writers))] {
                lines.entry(path).or_default().extend_from_slice(line.as_bytes());
            }
        }
        lines
    }
}

/// Which writer has a group.
pub fn owner(group: u16, writers: u16) -> u16 {
    group % writers
}

/// The file of a writer.
pub fn part(writer: u16) -> String {
    format!("part-{writer}.jsonl")
}

/// The writer that keeps the lines of a file.
pub fn keeper_of(path: &str, writers: u16) -> u16 {
    (0..writers).find(|writer| part(*writer) == path).unwrap_or(0)
}

/// What a tick brings to a file.
pub fn shown(path: &str, bytes: &[u8], before: u64) -> Shown {
    let (rows, hash) = lines_hash(bytes);
    let sink = if path == ONE { "one" } else { "parts" };
    Shown {
        sink: sink.to_owned(),
        path: path.to_owned(),
        rows,
        bytes: bytes.len() as u64,
        hash,
        end: before + bytes.len() as u64,
    }
}

/// All lines of the first records.
pub fn reference(records: u64) -> String {
    let mut fold = Fold::default();
    (0..records).map(|_| fold.record().1).collect()
}
