//! `[engine]`: how much is in flight. Performance only, except that ticks, and with them the canonical order, are cut by
//! `tick_size` and `block_size`.

use crate::config::check::{Findings, Section};
use crate::settings::{Key, Kind};

/// Its keys.
pub const KEYS: &[Key] = &[
    Key {
        name: "block_size",
        kind: Kind::SizeOrAuto(1, 256 << 20),
        default: Some("\"auto\""),
        doc: "Bytes of a file that are read and decoded at a time; auto: chosen from the number and size of the files.",
    },
    Key {
        name: "tick_size",
        kind: Kind::Size(1, 1 << 40),
        default: Some("\"4MiB\""),
        doc: "Bytes of input that are taken together in one tick of a bounded run.",
    },
    Key {
        name: "max_ticks_in_flight",
        kind: Kind::Integer(1, 1_024),
        default: Some("4"),
        doc: "Ticks that may be read before the oldest is done: more smooth out stalls and need more memory.",
    },
    Key {
        name: "snapshot_interval",
        kind: Kind::Duration(100, 86_400_000),
        default: Some("\"5s\""),
        doc: "Time between snapshots of all state, with --state: what was read since the last one is read again after a crash.",
    },
    Key {
        name: "stall_timeout",
        kind: Kind::Duration(1_000, 86_400_000),
        default: Some("\"60s\""),
        doc: "A run ends, or starts again with --state, when nothing has been committed for so long although it should.",
    },
];

/// The engine's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Engine {
    /// Bytes of a block; `None`: chosen from the input.
    pub block_size: Option<u64>,
    /// Bytes of a tick.
    pub tick_size: u64,
    /// Ticks that may be read before the oldest is done.
    pub max_ticks_in_flight: usize,
    /// Time between snapshots, ms.
    pub snapshot_interval: i64,
    /// How long nothing may be committed although ticks are open, ms.
    pub stall_timeout: u64,
}

/// Reads the table.
pub fn read(section: &Section, findings: &mut Findings) -> Engine {
    let values = findings.values(section, KEYS, &[], &[]);
    Engine {
        block_size: values.size("block_size"),
        tick_size: values.size("tick_size").unwrap_or(4 << 20),
        max_ticks_in_flight: values.integer("max_ticks_in_flight").unwrap_or(4) as usize,
        snapshot_interval: values.duration("snapshot_interval").unwrap_or(5_000),
        stall_timeout: values.duration("stall_timeout").unwrap_or(60_000) as u64,
    }
}
