//! Cases of one meter and one channel, tick by tick.

use super::*;
use crate::state::Corrupt;

/// Readings at these times, then this watermark; what is published: `start..end count revision`.
type Case<'a> = (&'a [i64], i64, &'a str);

fn check(kind: Kind, allowed_lateness: i64, name: &str, cases: &[Case]) {
    let spec = Spec { kind, allowed_lateness };
    let mut windows = Windows::new(spec, 1);
    for (number, (times, watermark, expected)) in cases.iter().enumerate() {
        let published = step(&mut windows, &tick(times, *watermark), usize::MAX, keep, &spec);
        let text = |one: &Published| format!("{}..{} {} r{}", one.row.start, one.row.end, one.row.count, one.row.revision);
        let text: Vec<String> = published.iter().map(text).collect();
        assert_eq!(text.join(", "), *expected, "{name}, tick {number}");
    }
}

const TUMBLING: Kind = Kind::Tumbling { size: 10 };
const SLIDING: Kind = Kind::Sliding { size: 6, slide: 2 };
const SESSION: Kind = Kind::Session { gap: 5 };
const END: i64 = i64::MAX;

#[test]
fn tumbling_windows() {
    let table: &[(&str, &[Case])] = &[
        ("half open", &[(&[9, 10, 19], 9, ""), (&[], 10, "0..10 1 r0"), (&[], 19, ""), (&[20], 20, "10..20 2 r0")]),
        ("before the epoch", &[(&[-1, -10, -11], 0, "-20..-10 1 r0, -10..0 2 r0")]),
        ("reading and watermark in one tick", &[(&[5], 100, "0..10 1 r0"), (&[100], 110, "100..110 1 r0")]),
        ("out of order", &[(&[25, 5, 15], 0, ""), (&[16, 7], 20, "0..10 2 r0, 10..20 2 r0"), (&[], END, "20..30 1 r0")]),
        ("years between", &[(&[5, 1 << 41], 1 << 40, "0..10 1 r0"), (&[], END, "2199023255550..2199023255560 1 r0")]),
        ("no watermark yet", &[(&[5], i64::MIN, ""), (&[3], i64::MIN, ""), (&[], 10, "0..10 2 r0")]),
        ("nothing twice", &[(&[5], 10, "0..10 1 r0"), (&[], 10, ""), (&[], END, ""), (&[], END, "")]),
    ];
    table.iter().for_each(|(name, cases)| check(TUMBLING, 0, name, cases));
}

#[test]
fn sliding_windows() {
    let table: &[(&str, &[Case])] = &[
        ("one reading, every window", &[(&[5], 5, ""), (&[], 6, "0..6 1 r0"), (&[], END, "2..8 1 r0, 4..10 1 r0")]),
        ("overlap", &[(&[1, 2, 7], 6, "-4..2 1 r0, -2..4 2 r0, 0..6 2 r0"), (&[], 8, "2..8 2 r0"), (&[], 10, "4..10 1 r0")]),
        (
            "a hole",
            &[(&[0, 20], 7, "-4..2 1 r0, -2..4 1 r0, 0..6 1 r0"), (&[], 22, "16..22 1 r0"), (&[23], 24, "18..24 2 r0")],
        ),
        ("an earlier slice comes later", &[(&[9], 3, ""), (&[4], 8, "0..6 1 r0, 2..8 1 r0"), (&[], 10, "4..10 2 r0")]),
    ];
    table.iter().for_each(|(name, cases)| check(SLIDING, 0, name, cases));
}

#[test]
fn revisions() {
    let table: &[(&str, &[Case])] = &[
        ("late by less than allowed", &[(&[5], 10, "0..10 1 r0"), (&[6], 12, "0..10 2 r1"), (&[7], 20, "0..10 3 r2")]),
        ("several in a tick are one revision", &[(&[5], 10, "0..10 1 r0"), (&[6, 7, 8], 10, "0..10 4 r1")]),
        ("first data after the end", &[(&[15], 12, ""), (&[5], 12, "0..10 1 r0"), (&[6], 12, "0..10 2 r1")]),
        ("revised and closed in one tick", &[(&[5, 15], 10, "0..10 1 r0"), (&[6, 16], 20, "0..10 2 r1, 10..20 2 r0")]),
        ("at the edge of what is allowed", &[(&[5], 17, "0..10 1 r0"), (&[9], END, "0..10 2 r1")]),
        ("only what got readings", &[(&[5, 15], 20, "0..10 1 r0, 10..20 1 r0"), (&[15], 20, "10..20 2 r1"), (&[], 27, "")]),
    ];
    table.iter().for_each(|(name, cases)| check(TUMBLING, 8, name, cases));
    let table: &[(&str, &[Case])] = &[
        (
            "published and unpublished windows of one reading",
            &[(&[1], 3, "-4..2 1 r0"), (&[1], 4, "-4..2 2 r1, -2..4 2 r0"), (&[], END, "0..6 2 r0")],
        ),
        (
            "a window between published ones has readings at last",
            &[
                (&[0, 9], 12, "-4..2 1 r0, -2..4 1 r0, 0..6 1 r0, 4..10 1 r0, 6..12 1 r0"),
                (&[4], 12, "0..6 2 r1, 2..8 1 r0, 4..10 2 r1"),
                (&[], END, "8..14 1 r0"),
            ],
        ),
    ];
    table.iter().for_each(|(name, cases)| check(SLIDING, 8, name, cases));
}

#[test]
fn sessions() {
    let table: &[(&str, &[Case])] = &[
        ("a gap of the gap ends it", &[(&[0, 4, 9], 8, ""), (&[], 9, "0..9 2 r0"), (&[], 13, ""), (&[], 14, "9..14 1 r0")]),
        ("a reading closes the hole in time", &[(&[0, 9], 4, ""), (&[5], 5, "0..5 1 r0"), (&[], 14, "5..14 2 r0")]),
        ("two grow together", &[(&[0, 8], 4, ""), (&[4], 8, ""), (&[], 13, "0..13 3 r0")]),
        ("it grows after its timer was set", &[(&[0], 4, ""), (&[4], 5, ""), (&[8], 9, ""), (&[], 13, "0..13 3 r0")]),
        ("its start moves before it is published", &[(&[9], 0, ""), (&[5], 9, ""), (&[], 14, "5..14 2 r0")]),
        ("one after the other", &[(&[0, 10, 20], 15, "0..5 1 r0, 10..15 1 r0"), (&[], END, "20..25 1 r0")]),
        ("all in the tick that ends them", &[(&[20, 0, 3], END, "0..8 2 r0, 20..25 1 r0")]),
    ];
    table.iter().for_each(|(name, cases)| check(SESSION, 0, name, cases));
}

#[test]
fn revisions_of_sessions() {
    let table: &[(&str, &[Case])] = &[
        ("within", &[(&[0, 4], 10, "0..9 2 r0"), (&[2, 3], 10, "0..9 4 r1"), (&[], END, "")]),
        ("grows at its end, reached", &[(&[0], 10, "0..5 1 r0"), (&[4], 10, "0..9 2 r1")]),
        ("grows at its end, reached later", &[(&[0], 6, "0..5 1 r0"), (&[4], 8, ""), (&[], 9, "0..9 2 r1")]),
        ("starts earlier", &[(&[10], 15, "10..15 1 r0"), (&[8], 15, "10..15 0 r1, 8..15 2 r1"), (&[], END, "")]),
        ("starts earlier, twice in a tick", &[(&[10], 15, "10..15 1 r0"), (&[8, 6], 15, "10..15 0 r1, 6..15 3 r1")]),
        (
            "starts earlier, twice",
            &[(&[10], 15, "10..15 1 r0"), (&[8], 15, "10..15 0 r1, 8..15 2 r1"), (&[6], 15, "8..15 0 r2, 6..15 3 r2")],
        ),
        (
            "starts earlier after it has grown",
            &[(&[10], 16, "10..15 1 r0"), (&[14], 16, ""), (&[8], 16, "10..15 0 r1"), (&[], END, "8..19 3 r1")],
        ),
        ("two published become one", &[(&[0, 8], 13, "0..5 1 r0, 8..13 1 r0"), (&[4], 13, "8..13 0 r1, 0..13 3 r1")]),
        (
            "the second had more revisions",
            &[
                (&[0, 8], 13, "0..5 1 r0, 8..13 1 r0"),
                (&[8], 13, "8..13 2 r1"),
                (&[8], 13, "8..13 3 r2"),
                (&[4], 13, "8..13 0 r3, 0..13 5 r3"),
            ],
        ),
        (
            "the first had more revisions",
            &[(&[0, 8], 13, "0..5 1 r0, 8..13 1 r0"), (&[0], 13, "0..5 2 r1"), (&[4], 13, "8..13 0 r1, 0..13 4 r2")],
        ),
        ("published, then unpublished", &[(&[0, 8], 6, "0..5 1 r0"), (&[4], 12, ""), (&[], 13, "0..13 3 r1")]),
        (
            "unpublished of the same tick, then published",
            &[(&[8], 13, "8..13 1 r0"), (&[0, 4], 13, "8..13 0 r1, 0..13 3 r1")],
        ),
        (
            "three become one in a tick",
            &[
                (&[0, 8, 16], 21, "0..5 1 r0, 8..13 1 r0, 16..21 1 r0"),
                (&[12, 4], 21, "8..13 0 r1, 16..21 0 r1, 0..21 5 r1"),
            ],
        ),
        (
            "a moved start that is not yet published is no revision",
            &[(&[8], 13, "8..13 1 r0"), (&[12], 14, ""), (&[6], 14, "8..13 0 r1"), (&[4], 14, ""), (&[], 17, "4..17 4 r1")],
        ),
        (
            "a moved start is swallowed before it is published",
            &[
                (&[0, 8], 13, "0..5 1 r0, 8..13 1 r0"),
                (&[12], 14, ""),
                (&[6], 14, "8..13 0 r1"),
                (&[4], 14, ""),
                (&[], END, "0..17 5 r1"),
            ],
        ),
        ("first data after its end", &[(&[40], 20, ""), (&[5], 20, "5..10 1 r0"), (&[11], 20, "11..16 1 r0")]),
    ];
    table.iter().for_each(|(name, cases)| check(SESSION, 20, name, cases));
}

#[test]
fn what_a_session_takes_back_has_no_statistics() {
    let spec = Spec { kind: SESSION, allowed_lateness: 20 };
    let mut windows = Windows::new(spec, 1);
    step(&mut windows, &tick(&[10], 15), usize::MAX, keep, &spec);
    let published = step(&mut windows, &tick(&[8], 15), usize::MAX, keep, &spec);
    let row = &published[0].row;
    assert!([row.mean, row.stddev, row.min, row.max, row.first, row.last].iter().all(|value| value.is_nan()));
    let row = &published[1].row;
    assert_eq!([row.mean, row.stddev, row.min, row.max, row.first, row.last], [9.0, 1.0, 8.0, 10.0, 8.0, 10.0]);
}

#[test]
fn a_reading_without_a_channel_leaves_no_trace() {
    let mut windows = Windows::new(Spec { kind: TUMBLING, allowed_lateness: 0 }, 1);
    let mut batch = Batch::new(0, 1, 0);
    batch.push(b"meter", 5, 0, None, 0, &[0.0]);
    windows.apply(&batch);
    let mut out = WindowBatch::default();
    assert!(windows.close(END, 10, &mut out) && out.rows.is_empty() && windows.keys() == 0);
}

#[test]
fn what_is_final_is_dropped_and_memory_stays() {
    for (kind, lateness) in [(TUMBLING, 0), (TUMBLING, 30), (SLIDING, 0), (SLIDING, 30), (SESSION, 0), (SESSION, 30)] {
        let spec = Spec { kind, allowed_lateness: lateness };
        let mut windows = Windows::new(spec, 1);
        // A meter whose clock was wrong once: its last window is due in a very long time.
        step(&mut windows, &tick(&[1 << 40], 0), usize::MAX, keep, &spec);
        let run = |windows: &mut Windows, from: i64, to: i64| {
            for time in from..to {
                // In pairs with silence between them, the second some way behind the watermark.
                let times: &[i64] = if time % 10 < 2 { &[time * 3, time * 3 - lateness] } else { &[] };
                step(windows, &tick(times, time * 3), usize::MAX, keep, &spec);
            }
        };
        run(&mut windows, 0, 3000);
        let memory = windows.memory();
        run(&mut windows, 3000, 60_000);
        // Up to 1,024 entries of windows that are due no more.
        assert!(windows.memory() <= memory + (16 << 10), "{spec:?}: {memory} became {}", windows.memory());
        assert!(live(&windows) < 40, "{spec:?}: {}", live(&windows));
        step(&mut windows, &tick(&[], 1 << 39), usize::MAX, keep, &spec);
        assert_eq!(live(&windows), 1, "{spec:?}");
        step(&mut windows, &tick(&[], END), usize::MAX, keep, &spec);
        assert_eq!(live(&windows), 0, "{spec:?}");
    }
}

#[test]
fn state_of_other_windows_and_broken_state_are_refused() {
    let spec = Spec { kind: SLIDING, allowed_lateness: 8 };
    let mut windows = Windows::new(spec, 1);
    step(&mut windows, &tick(&[1, 7], 6), usize::MAX, keep, &spec);
    let saved = |scope| {
        let mut out = Writer::default();
        windows.save(scope, &mut out);
        out.into_bytes()
    };
    let load = |spec: Spec, scope, bytes: &[u8]| Windows::new(spec, 1).load(scope, &mut Reader::new(bytes));
    let other = Spec { kind: Kind::Sliding { size: 8, slide: 2 }, ..spec };
    let Corrupt(message) = load(other, Scope::Global, &saved(Scope::Global)).unwrap_err();
    assert!(message.contains("[1, 6, 2, 8]") && message.contains("[1, 8, 2, 8]"), "{message}");

    let groups: Vec<u16> = (0..GROUPS as u16).filter(|group| !saved(Scope::Group(*group)).is_empty()).collect();
    let scope = Scope::Group(groups[0]);
    let bytes = saved(scope);
    assert!(groups.len() == 1 && load(spec, scope, &bytes).is_ok());
    for cut in 1..bytes.len() {
        assert!(load(spec, scope, &bytes[..cut]).is_err(), "{cut} of {} bytes", bytes.len());
    }
    // A list that points outside its slab: `oldest` follows the counts, one key, no heap, the count of heads, and `due`.
    let mut broken = bytes;
    broken[8 + 16 + 8 + 8 + 8..][..4].copy_from_slice(&999u32.to_le_bytes());
    assert!(load(spec, scope, &broken).is_err());
}
