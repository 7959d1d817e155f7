//! `[windows]`: over which stretches of event time statistics are computed.

use crate::config::check::{Findings, Section};
use crate::settings::{Values, format_duration};
use crate::windows::settings::{self, KEYS};
use crate::windows::{Kind, Spec};

/// Above this many slices in a window every published window costs more than its readings did.
const MANY_SLICES: i64 = 1_000;

/// Reads the table.
pub fn read(section: &Section, findings: &mut Findings) -> Spec {
    let values = findings.values(section, KEYS, &[], &[]);
    if findings.sure(section, "kind") {
        check_keys(section, &values, findings);
    }
    // What is not as it was meant proves nothing.
    let sure = ["kind", "size", "slide"].iter().all(|key| findings.sure(section, key));
    match settings::read(&values) {
        Ok(spec) => {
            if let (Kind::Sliding { size, slide }, true) = (spec.kind, sure) {
                check_slices(section, size, slide, findings);
            }
            spec
        }
        Err(problems) => {
            for problem in problems.into_iter().filter(|_| sure) {
                // A default slide is wrong for a size that was given.
                let key = if section.has(&problem.key) { problem.key.as_str() } else { "size" };
                findings.wrong(section, key, problem.message);
            }
            Spec { kind: Kind::Tumbling { size: 1 }, allowed_lateness: values.duration("allowed_lateness").unwrap_or(0) }
        }
    }
}

/// Keys of another kind of window are mistakes, unless a later layer has changed the kind.
fn check_keys(section: &Section, values: &Values, findings: &mut Findings) {
    let kind = values.text("kind").unwrap_or_default();
    for (key, kinds) in [("size", "tumbling and sliding"), ("slide", "sliding"), ("gap", "session")] {
        if !section.has(key) || kinds.contains(kind) {
            continue;
        }
        let message = format!("is for {kinds} windows; these are {kind} windows");
        if section.has("kind") && section.at("kind").overrides(&section.at(key)) {
            findings.doubtful(section, key, format!("{message}, so it is not used"));
        } else {
            findings.wrong(section, key, format!("{message}: remove it, or change kind"));
        }
    }
}

fn check_slices(section: &Section, size: i64, slide: i64, findings: &mut Findings) {
    if size / slide > MANY_SLICES {
        let (size_text, slide_text) = (format_duration(size), format_duration(slide));
        let message = format!(
            "every window of {size_text} by {slide_text} is put together from {} slices: this is slow",
            size / slide
        );
        findings.doubtful(section, if section.has("slide") { "slide" } else { "size" }, message);
    }
}
