//! A crate outside the package, `tests/outside`: its dataflows are compiled into this binary and run here, and it names
//! nothing of the library but the prelude and `main`. (`scripts/outside` builds it as what it is.)

use crate::support::{Folder, json, lines, run, sorted, template};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[allow(dead_code, reason = "its `main` is called by nobody here")]
#[path = "outside/src/main.rs"]
mod program;

#[test]
fn it_needs_the_prelude_and_main_alone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outside");
    let mut named = 0;
    for entry in fs::read_dir(folder.join("src")).expect("its sources") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a source");
        for (at, name) in text.match_indices("meterflow::") {
            let rest = &text[at + name.len()..];
            assert!(rest.starts_with("prelude::") || rest.starts_with("main("), "meterflow::{:.40}", rest);
            named += 1;
        }
    }
    assert!(named >= 4, "the check has found nothing to check");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("its manifest");
    let dependencies = manifest.split("[dependencies]\n").nth(1).expect("dependencies").split("\n\n").next();
    assert_eq!(dependencies, Some("meterflow = { path = \"../..\" }"));
}

/// Readings of seven meters, the n-th of which sends n, ten minutes and more apart; one of them late, one repeated.
fn input() -> String {
    let line = |meter: usize, minute: usize| {
        let time = 1_704_067_200_000 + minute as i64 * 60_000;
        format!("{{\"meter_id\":\"m\\\"{meter}\",\"timestamp\":{time},\"voltage\":230}}\n")
    };
    let mut text: String = (1..=7)
        .flat_map(|round| (round..=7).map(move |meter| (meter, round)))
        .map(|(meter, round)| line(meter, 10 * round + 3 * round * (meter % 3)))
        .collect::<Vec<_>>()
        .concat();
    text += &line(3, 1);
    text
}

fn config(folder: &Folder, sink: &str) -> String {
    let (input, out) = (folder.at("in.jsonl"), folder.at(sink));
    // Small ticks: there is more than one answer on the way.
    format!(
        "[sources.readings]\nkind = \"file\"\npath = {input:?}\nmax_jump = \"off\"\nout_of_orderness = \"30m\"\n\
         [sinks.{sink}]\nkind = \"file\"\npath = {out:?}\n[engine]\nblock_size = 100\ntick_size = 200\n"
    )
}

#[test]
fn a_dataflow_of_its_own_does_what_the_template_does() {
    let folder = Folder::new("outside-gaps");
    folder.write("in.jsonl", input());
    let gaps = program::DATAFLOWS[0];
    let mut found = Vec::new();
    for (dataflow, threads) in [(template::TEMPLATE, 1), (gaps, 1), (gaps, 2)] {
        run(dataflow, &config(&folder, "gaps"), threads, true);
        let mut gaps: Vec<_> = lines(folder.at("gaps")).iter().map(|line| json(line).to_string()).collect();
        gaps.sort();
        found.push(gaps);
    }
    assert!(found[0].len() > 3 && found[0][0].contains("m\\\""), "{:?}", found[0]);
    assert_eq!(found[1], found[0]);
    assert_eq!(found[2], found[0]);
}

#[test]
fn raw_timely_and_differential_count_right() {
    let folder = Folder::new("outside-totals");
    folder.write("in.jsonl", input());
    let totals = program::DATAFLOWS[1];
    let mut before = None;
    for threads in 1..=2 {
        let outcome = run(totals, &config(&folder, "totals"), threads, false);
        let counts = &outcome.counts.sources["readings"];
        assert_eq!((counts.read, counts.late), (29, 1));
        let mut meters: BTreeMap<i64, i64> = BTreeMap::new();
        let lines = sorted(folder.at("totals"));
        for line in lines.iter().map(|line| json(line)) {
            let [readings, more] = ["readings", "meters"].map(|name| line[name].as_i64().expect("a number"));
            *meters.entry(readings).or_default() += more;
        }
        meters.retain(|_, meters| *meters != 0);
        assert_eq!(meters, (1..=7).map(|readings| (readings, 1)).collect(), "{threads} threads");
        // Not only the last answer: every change on the way, the same on all numbers of threads.
        assert!(lines.len() > 14, "{lines:?}");
        assert_eq!(before.get_or_insert(lines.clone()), &lines);
    }
}
