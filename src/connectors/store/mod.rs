//! Object stores: named, immutable pieces of bytes that are there whole or not at all.
//!
//! What every store promises, and [`contract`](self) tests hold it to:
//! * an object that a reader sees is complete: the bytes of one `put`, never a part or a mixture;
//! * `put` replaces, and putting the same bytes again changes nothing, so any call may be repeated after an error;
//! * when a call returns `Ok` its effect survives a crash of the machine;
//! * `list` shows what was put before the call, in the order of the names' bytes.
//!
//! A failure says what is known about its effect ([`StoreError`]), for that decides what the caller may do next.

pub mod faulty;
pub mod folder;
pub mod memory;

#[cfg(test)]
pub mod contract;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Longest object name, bytes.
pub const MAX_NAME: usize = 900;
/// Longest part of a name between two slashes, bytes; it leaves room for what a folder adds while it writes.
pub const MAX_SEGMENT: usize = 200;

/// An object and its size.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// Length, bytes.
    pub bytes: u64,
}

/// What [`ObjectStore::put_if_absent`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// There was no such object: it was written.
    Written,
    /// There is one already: nothing was changed.
    Exists,
}

/// A place for objects. Calls block; they are made from helper threads, never from a worker.
pub trait ObjectStore: Send + Sync {
    /// Writes an object, or replaces it.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Writes an object unless there is one of that name; of several callers at once exactly one writes.
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Outcome, StoreError>;

    /// The bytes of an object from `range.start` to `range.end` or to its end, whichever is first; `None` when there is
    /// no such object.
    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError>;

    /// The objects whose names start with `prefix` (any text, not only whole folders), in the order of their names.
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError>;

    /// Whether there is an object of this name.
    fn exists(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.get_range(name, 0..0)?.is_some())
    }

    /// Removes what writers that died have left unfinished: those whose tag starts with `job`, but for this one's own. Returns
    /// how much that was.
    fn sweep(&self, _job: &str) -> Result<usize, StoreError> {
        Ok(0)
    }

    /// Removes an object; one that is not there is no error.
    fn delete(&self, name: &str) -> Result<(), StoreError>;
}

/// Why a call failed, by what the caller may conclude.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// It had no effect; trying again may help.
    DidNotHappen(String),
    /// It may or may not have had its effect (an answer that never came); repeat it, or read what is there.
    MayHaveHappened(String),
    /// Trying again cannot help before somebody has acted.
    NeedsPerson {
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        !matches!(self, StoreError::NeedsPerson { .. })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            StoreError::DidNotHappen(problem) => write!(out, "{problem} (nothing was changed)"),
            StoreError::MayHaveHappened(problem) => write!(out, "{problem} (it may have been done all the same)"),
            StoreError::NeedsPerson { problem, remedy } => write!(out, "{problem}: {remedy}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Who writes into a store.
#[derive(Clone)]
pub struct Author {
    /// What unfinished objects carry, to tell whose they are: letters, digits and `-_.=+@`.
    pub tag: String,
    /// Asked before an object becomes visible: no longer true when another process has taken this one's place.
    pub may_write: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Default for Author {
    /// One that may always write.
    fn default() -> Author {
        Author { tag: "m".to_string(), may_write: Arc::new(|| true) }
    }
}

/// The store that `url` names: `file:///absolute/folder`, or a path of this machine.
pub fn open(url: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    open_as(url, Author::default())
}

/// The same for a writer that can be replaced by another one.
pub fn open_as(url: &str, author: Author) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let path = match url.split_once("://") {
        None => url,
        Some(("file", path)) => path,
        Some((scheme, _)) => {
            return Err(StoreError::NeedsPerson {
                problem: format!("\"{url}\" names a store of the kind {scheme}"),
                remedy: "use file:///absolute/folder or a path".to_string(),
            });
        }
    };
    Ok(Arc::new(folder::Folder::open_as(path, author)?))
}

/// Refuses names that not every store can hold: parts of letters, digits and `-_.=+@`, joined by single slashes, none of
/// which starts with a dot (so that no name leaves its folder, and a store may use such names for its own purposes).
pub fn check_name(name: &str) -> Result<(), StoreError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=+@".contains(&byte);
    let whole = |part: &str| (1..=MAX_SEGMENT).contains(&part.len()) && !part.starts_with('.') && part.bytes().all(allowed);
    if name.len() <= MAX_NAME && name.split('/').all(whole) {
        return Ok(());
    }
    Err(StoreError::NeedsPerson {
        problem: format!("\"{name}\" cannot be the name of an object"),
        remedy: format!(
            "use parts of 1 to {MAX_SEGMENT} letters, digits and -_.=+@, joined by '/', none of which starts with a dot, \
             {MAX_NAME} bytes at most"
        ),
    })
}

/// The part of an object of `length` bytes that [`ObjectStore::get_range`] returns.
fn clip(range: Range<u64>, length: u64) -> Range<u64> {
    let end = range.end.min(length);
    range.start.min(end)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "kind=stats/date=2024-01-01/x-1_2.parquet", "a/b/c", "A+@1"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = ["a"; 500].join("/");
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", ".hidden", "a/.b", "a b", "a\\b", "ä", "a\n", "a:b", &long] {
            assert!(matches!(check_name(bad), Err(StoreError::NeedsPerson { .. })), "{bad:?}");
        }
    }

    #[test]
    fn unknown_schemes_are_refused_by_name() {
        let error = open("s3://bucket/x").err().map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.contains("s3") && text.contains("file:///")));
    }
}
