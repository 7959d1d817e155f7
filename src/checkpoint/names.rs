//! The names of the files of a state folder. Numbers have leading zeros, so that names sort as they follow each other.

use crate::checkpoint::volume::TEMPORARY;
use crate::model::control::Tick;

/// What a file of the state folder is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Name {
    /// A file of the tick log.
    Log {
        /// Whose.
        incarnation: u64,
        /// Number among those of the incarnation, from 0.
        sequence: u32,
    },
    /// A file of the spool of a process.
    Spool {
        /// Whose.
        incarnation: u64,
        /// The process.
        process: u32,
        /// Number among those of the process, from 0.
        sequence: u32,
    },
    /// The manifest of a snapshot.
    Manifest {
        /// The tick after which.
        tick: Tick,
        /// Whose.
        incarnation: u64,
    },
    /// State that a process has saved for a snapshot.
    Segment {
        /// The tick after which.
        tick: Tick,
        /// Whose.
        incarnation: u64,
        /// The process.
        process: u32,
    },
}

impl Name {
    /// What `name` names; none: a file that is nothing of the above.
    pub fn parse(name: &str) -> Option<Name> {
        let mut parts = name.split('-');
        let kind = parts.next()?;
        let numbers = parts.map(number).collect::<Option<Vec<u64>>>()?;
        let small = |at: usize| u32::try_from(numbers[at]).ok();
        let found = match (kind, numbers.len()) {
            ("log", 2) => Name::Log { incarnation: numbers[0], sequence: small(1)? },
            ("spool", 3) => Name::Spool { incarnation: numbers[0], process: small(1)?, sequence: small(2)? },
            ("snapshot", 2) => Name::Manifest { tick: numbers[0], incarnation: numbers[1] },
            ("segment", 3) => Name::Segment { tick: numbers[0], incarnation: numbers[1], process: small(2)? },
            _ => return None,
        };
        (found.text() == name).then_some(found)
    }

    /// The name of the file.
    pub fn text(&self) -> String {
        match self {
            Name::Log { incarnation, sequence } => format!("log-{incarnation:08}-{sequence:06}"),
            Name::Spool { incarnation, process, sequence } => format!("spool-{incarnation:08}-{process:04}-{sequence:06}"),
            Name::Manifest { tick, incarnation } => format!("snapshot-{tick:012}-{incarnation:08}"),
            Name::Segment { tick, incarnation, process } => format!("segment-{tick:012}-{incarnation:08}-{process:04}"),
        }
    }

    /// The incarnation that wrote it.
    pub fn incarnation(&self) -> u64 {
        match self {
            Name::Log { incarnation, .. }
            | Name::Spool { incarnation, .. }
            | Name::Manifest { incarnation, .. }
            | Name::Segment { incarnation, .. } => *incarnation,
        }
    }

    /// What a file was to become that a crash has left under its temporary name.
    pub fn left_over(name: &str) -> Option<Name> {
        Name::parse(name.strip_prefix(TEMPORARY)?)
    }
}

fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let table = [
            ("log-00000007-000012", Name::Log { incarnation: 7, sequence: 12 }),
            ("spool-00000007-0003-000000", Name::Spool { incarnation: 7, process: 3, sequence: 0 }),
            ("snapshot-000000000042-00000007", Name::Manifest { tick: 42, incarnation: 7 }),
            ("segment-000000000042-00000007-0001", Name::Segment { tick: 42, incarnation: 7, process: 1 }),
            ("log-123456789-000000", Name::Log { incarnation: 123_456_789, sequence: 0 }),
        ];
        for (text, name) in table {
            assert_eq!((Name::parse(text), name.text().as_str()), (Some(name), text));
            assert_eq!(Name::left_over(&format!(".tmp-{text}")), Some(name));
        }
        let others = [
            "lease",
            "log-7-12",
            "log-00000007",
            "log-00000007-+00012",
            "log--",
            "snapshot-x-00000007",
            "log-00000007-000012.bak",
        ];
        for other in others {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
