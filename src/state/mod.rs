//! State: what a step remembers from tick to tick, in a form that can be frozen, stored, moved and restored.
//!
//! There are three scopes. *Key group* state belongs to meters and moves with their group when the number of workers
//! changes; *partition* state belongs to a source partition; *global* state exists once per job. A step implements
//! [`State`] for whichever it has; nothing else reads or writes its bytes.

pub mod bytes;
pub mod changed;
pub mod keyed;
pub mod slab;

#[cfg(test)]
pub mod incremental;

pub use bytes::{Corrupt, Reader, Writer};
pub use changed::Changed;

use crate::error::{Error, fatal};

/// What a piece of state belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// The meters of one of the [`GROUPS`](crate::model::meter::GROUPS) key groups.
    Group(u16),
    /// One partition, by its index in the job's list.
    Partition(u32),
    /// The job.
    Global,
}

/// State of a step that can be saved after any tick and loaded before the next.
pub trait State {
    /// Names the layout of the bytes; state of another kind or version is never loaded.
    fn kind(&self) -> (&'static str, u16);

    /// The settings that the stored bytes depend on, readable: those with which state that was stored under other ones
    /// would be wrong (a window's length, the names and order of channels), and nothing else (no threshold). Parts that may
    /// come and go are joined by `; ` and begin with their name and `: `; see [`fits`].
    fn shape(&self) -> String;

    /// Whether what belongs to a key group may have changed since [`State::mark_saved`], or since it was loaded. While it has
    /// not, `save` gives the same bytes.
    fn is_changed(&self, _group: u16) -> bool {
        true
    }

    /// What belongs to a key group has been saved.
    fn mark_saved(&mut self, _group: u16) {}

    /// Appends what belongs to `scope`; nothing when there is nothing to remember.
    fn save(&self, scope: Scope, out: &mut Writer);

    /// Takes over what [`State::save`] wrote for `scope`. The step is new: it remembers nothing of that scope. The global
    /// scope is loaded before the others.
    fn load(&mut self, scope: Scope, from: &mut Reader) -> Result<(), Corrupt>;
}

/// Whether state that was stored under the shape `stored` goes on under the shape `now`: a part that both have must be the
/// same; one that only `now` has starts empty, and what only `stored` has is dropped.
pub fn fits(stored: &str, now: &str) -> bool {
    let name = |part: &str| part.split_once(": ").map(|(name, _)| name.to_owned());
    let same = |part: &str, other: &str| name(part) != name(other) || part == other;
    stored.split("; ").all(|part| now.split("; ").all(|other| same(part, other) || part.is_empty() || other.is_empty()))
}

/// State as it comes back when what `old` saves of `scopes` is loaded into `new`, which remembers nothing. For checks: a
/// state that cannot read what it wrote ends the process.
pub fn restored<S: State + ?Sized, N: State>(old: &S, mut new: N, scopes: &[Scope]) -> N {
    restore(old, &mut new, scopes);
    new
}

/// Like [`restored`], in place.
pub fn restore<S: State + ?Sized, N: State + ?Sized>(old: &S, new: &mut N, scopes: &[Scope]) {
    for scope in scopes {
        let mut saved = Writer::default();
        old.save(*scope, &mut saved);
        let mut reader = Reader::new(saved.bytes());
        if !reader.is_empty() {
            let loaded = new.load(*scope, &mut reader).and_then(|()| reader.finish());
            loaded.unwrap_or_else(|error| fatal(&Error::internal(format!("{} of {scope:?}: {error}", old.kind().0))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_both_have_must_be_the_same() {
        let table = [
            ("", "", true),
            ("size=1m", "size=1m", true),
            ("size=1m", "size=2m", false),
            ("a: x=1; b: y=2", "a: x=1; b: y=2", true),
            ("a: x=1; b: y=2", "b: y=2", true),
            ("b: y=2", "a: x=1; b: y=2", true),
            ("", "a: x=1", true),
            ("a: x=1", "", true),
            ("a: x=1; b: y=2", "a: x=1; b: y=3", false),
        ];
        for (stored, now, expected) in table {
            assert_eq!(fits(stored, now), expected, "`{stored}` and `{now}`");
        }
    }
}
