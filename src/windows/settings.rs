//! The table `[windows]` of a configuration.

use crate::settings::{Key, Kind as Takes, Problem, Values, format_duration};
use crate::windows::{Kind, Spec};

const DAY: i64 = 86_400_000;
/// Most windows that a reading can be in.
const MOST_SLIDES: i64 = 100_000;

/// The keys of the table.
pub const KEYS: &[Key] = &[
    Key {
        name: "kind",
        kind: Takes::Choice(&["tumbling", "sliding", "session"]),
        default: Some("\"sliding\""),
        doc: "Tumbling: windows of `size`, one after the other; sliding: one beginning every `slide`;\n\
              session: runs of readings less than `gap` apart.",
    },
    Key {
        name: "size",
        kind: Takes::Duration(1, 366 * DAY),
        default: Some("\"1m\""),
        doc: "Length of tumbling and sliding windows, which are aligned to the epoch (UTC).",
    },
    Key {
        name: "slide",
        kind: Takes::Duration(1, 366 * DAY),
        default: Some("\"10s\""),
        doc: "From the beginning of one sliding window to the next; must divide `size`.",
    },
    Key {
        name: "gap",
        kind: Takes::Duration(1, 366 * DAY),
        default: Some("\"5m\""),
        doc: "The shortest silence of a meter that ends a session.",
    },
    Key {
        name: "allowed_lateness",
        kind: Takes::Duration(0, 366 * DAY),
        default: Some("\"0s\""),
        doc: "How long after its end a window takes readings in; each time it is published again with the next revision.",
    },
];

/// The windows that the table asks for.
pub fn read(values: &Values) -> Result<Spec, Vec<Problem>> {
    // Every key has a default, so none is absent.
    let duration = |key| values.duration(key).unwrap_or_default();
    let (size, slide) = (duration("size"), duration("slide"));
    let kind = match values.text("kind") {
        Some("tumbling") => Kind::Tumbling { size },
        Some("session") => Kind::Session { gap: duration("gap") },
        _ => {
            check_slide(size, slide).map_err(|problem| vec![problem])?;
            Kind::Sliding { size, slide }
        }
    };
    Ok(Spec { kind, allowed_lateness: duration("allowed_lateness") })
}

fn check_slide(size: i64, slide: i64) -> Result<(), Problem> {
    let problem = |message| Err(Problem { key: "slide".into(), message });
    if slide == 0 || size % slide != 0 {
        let slides = if slide == 0 { 1 } else { (size / slide).max(1) };
        return problem(format!(
            "a slide of {} does not divide the size of {}; {} would{}",
            format_duration(slide),
            format_duration(size),
            format_duration(size / divisor_near(size, slides)),
            if slide > size { " (windows would leave gaps: a slide is at most the size)" } else { "" }
        ));
    }
    if size / slide > MOST_SLIDES {
        return problem(format!("each reading would be in {} windows; at most {MOST_SLIDES} are allowed", size / slide));
    }
    Ok(())
}

/// The smallest divisor of `size` that is at least `slides`.
fn divisor_near(size: i64, slides: i64) -> i64 {
    let small = (1..).take_while(|divisor| divisor * divisor <= size).filter(|divisor| size % divisor == 0);
    let divisors = small.flat_map(|divisor| [divisor, size / divisor]);
    divisors.filter(|divisor| *divisor >= slides).min().unwrap_or(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Value;

    fn values(kind: &str, size: i64, slide: i64) -> Values {
        let mut values = Values::default();
        values.keys.insert("kind".into(), Value::Text(kind.into()));
        for (key, ms) in [("size", size), ("slide", slide), ("gap", 7), ("allowed_lateness", 3)] {
            values.keys.insert(key.into(), Value::Duration(ms));
        }
        values
    }

    #[test]
    fn each_kind_takes_its_own_keys() {
        let kinds = [
            ("tumbling", Kind::Tumbling { size: 60 }),
            ("sliding", Kind::Sliding { size: 60, slide: 20 }),
            ("session", Kind::Session { gap: 7 }),
        ];
        for (name, kind) in kinds {
            assert_eq!(read(&values(name, 60, 20)), Ok(Spec { kind, allowed_lateness: 3 }));
        }
        // What does not divide matters to sliding windows only.
        assert!(read(&values("tumbling", 60, 50)).is_ok() && read(&values("session", 60, 50)).is_ok());
    }

    #[test]
    fn a_slide_that_cannot_be_is_refused_with_one_that_can() {
        let table = [
            (60_000, 25_000, "a slide of 25s does not divide the size of 1m; 30s would"),
            (60_000, 90_000, "1m would (windows would leave gaps: a slide is at most the size)"),
            (DAY, 1, "each reading would be in 86400000 windows; at most 100000 are allowed"),
        ];
        for (size, slide, message) in table {
            let problems = read(&values("sliding", size, slide)).unwrap_err();
            assert!(problems.len() == 1 && problems[0].key == "slide", "{problems:?}");
            assert!(problems[0].message.ends_with(message), "{}", problems[0].message);
        }
    }
}
