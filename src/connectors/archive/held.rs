//! Rows that are held until they are stored, and what of them belongs to which key group.

use crate::connectors::archive::cut::Rows;
use crate::model::meter::GROUPS;
use std::cell::OnceCell;
use std::sync::Arc;

/// Rows of one kind and day. They are shared with whoever uploads them.
pub struct Held {
    rows: Arc<Rows>,
    /// Made when a key group is asked for; a change of the rows drops it.
    by_group: OnceCell<ByGroup>,
}

/// The places of rows, by key group.
struct ByGroup {
    /// Where the rows of each group start; one more at the end.
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl Held {
    /// Holds these rows.
    pub fn new(rows: Rows) -> Held {
        Held { rows: Arc::new(rows), by_group: OnceCell::new() }
    }

    /// The rows.
    pub fn rows(&self) -> &Arc<Rows> {
        &self.rows
    }

    /// The rows, to add some.
    pub fn change(&mut self) -> &mut Rows {
        self.by_group.take();
        Arc::make_mut(&mut self.rows)
    }

    /// A copy of the rows of a key group, in their order; `None` when there are none.
    pub fn of_group(&self, group: u16) -> Option<Rows> {
        let ByGroup { starts, rows } = self.by_group.get_or_init(|| ByGroup::new(&self.rows));
        let rows = &rows[starts[group as usize] as usize..starts[group as usize + 1] as usize];
        if rows.is_empty() {
            return None;
        }
        let mut copy = self.rows.alike();
        copy.extend(&self.rows, rows.iter().map(|row| *row as usize));
        Some(copy)
    }

    /// The key groups that have meters here.
    pub fn groups(&self) -> Vec<u16> {
        let mut groups = self.rows.meters().0.groups();
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}

impl ByGroup {
    /// Counts and lays out: two passes over the numbers of the meters.
    fn new(rows: &Rows) -> ByGroup {
        let (meters, numbers) = rows.meters();
        let groups = meters.groups();
        let mut starts = vec![0u32; GROUPS + 1];
        for number in numbers {
            starts[groups[*number as usize] as usize + 1] += 1;
        }
        for group in 0..GROUPS {
            starts[group + 1] += starts[group];
        }
        let (mut next, mut rows) = (starts.clone(), vec![0; numbers.len()]);
        for (row, number) in (0..).zip(numbers) {
            let at = &mut next[groups[*number as usize] as usize];
            rows[*at as usize] = row;
            *at += 1;
        }
        ByGroup { starts, rows }
    }
}
