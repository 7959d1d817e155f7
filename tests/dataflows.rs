//! The dataflows of the program on small inputs with results that can be seen by eye.

use crate::support::{Folder, json, lines, run, sorted, stats, template};
use serde_json::json;

const MINUTE: i64 = 60_000;
const START: i64 = 1_704_067_200_000;

fn line(meter: &str, minute: i64) -> String {
    format!("{{\"meter_id\":\"{meter}\",\"timestamp\":{},\"voltage\":230}}\n", START + minute * MINUTE)
}

fn config(folder: &Folder) -> String {
    let (input, gaps, late, dead) = (folder.at("in.jsonl"), folder.at("gaps"), folder.at("late"), folder.at("dead"));
    format!(
        "[sources.readings]\nkind = \"file\"\npath = {input:?}\nmax_jump = \"off\"\n\
         [sinks.gaps]\nkind = \"file\"\npath = {gaps:?}\n[sinks.late]\nkind = \"file\"\npath = {late:?}\n\
         [sinks.dead_letters]\nkind = \"file\"\npath = {dead:?}\n"
    )
}

#[test]
fn template_finds_gaps() {
    let folder = Folder::new("template");
    // 15 minutes are no gap; a late reading neither makes nor closes one; meters are told apart.
    let readings = [("a", 0), ("b", 0), ("a", 15), ("a", 31), ("a", 14), ("b", 40), ("a", 40), ("b", 100), ("c", 100)];
    let text: String = readings.iter().map(|(meter, minute)| line(meter, *minute)).collect();
    folder.write("in.jsonl", text + "no reading\n");
    let gap = |meter: &str, from: i64, to: i64| {
        json!({ "meter": meter, "from": START + from * MINUTE, "to": START + to * MINUTE }).to_string()
    };
    let mut wanted = vec![gap("a", 15, 31), gap("b", 0, 40), gap("b", 40, 100)];
    wanted.sort();
    for threads in 1..=3 {
        for check_state in [false, true] {
            let outcome = run(template::TEMPLATE, &config(&folder), threads, check_state);
            let found = sorted(folder.at("gaps")).iter().map(|line| json(line).to_string()).collect::<Vec<_>>();
            assert_eq!(found, wanted, "{threads} threads, check_state {check_state}");
            assert_eq!((lines(folder.at("late")).len(), lines(folder.at("dead")).len()), (1, 1));
            let counts = &outcome.counts.sources["readings"];
            assert_eq!((counts.read, counts.used(), counts.late, counts.dead_total()), (10, 8, 1, 1));
        }
    }
}

#[test]
fn an_empty_input_is_counted() {
    let folder = Folder::new("empty");
    folder.write("in.jsonl", "");
    let summary = run(template::TEMPLATE, &config(&folder), 2, false).summary();
    assert_eq!(summary["sources"]["readings"]["read"], 0);
    assert_eq!(summary["event_time"]["first"], serde_json::Value::Null);
    assert_eq!(lines(folder.at("gaps")).len(), 0);
}

#[test]
fn stats_needs_no_detectors() {
    let folder = Folder::new("stats");
    folder.write("in.jsonl", line("a", 0) + &line("a", 0) + &line("a", 1));
    let (input, out) = (folder.at("in.jsonl"), folder.at("stats"));
    let config = format!(
        "[sources.readings]\nkind = \"file\"\npath = {input:?}\nmax_jump = \"off\"\n\
         [windows]\nkind = \"tumbling\"\nsize = \"1m\"\n[sinks.stats]\nkind = \"file\"\npath = {out:?}\n"
    );
    let outcome = run(stats::STATS, &config, 1, false);
    let window = |minute: i64, count: u64| {
        json!({
            "meter": "a", "channel": "voltage", "window_start": START + minute * MINUTE,
            "window_end": START + (minute + 1) * MINUTE, "count": count, "mean": 230.0, "stddev": 0.0, "min": 230.0,
            "max": 230.0, "first": 230.0, "last": 230.0, "revision": 0,
        })
    };
    let found: Vec<_> = lines(&out).iter().map(|line| json(line)).collect();
    let as_floats = |value: &serde_json::Value| value.to_string().replace(".0", "");
    assert_eq!(
        found.iter().map(as_floats).collect::<Vec<_>>(),
        [window(0, 2), window(1, 1)].iter().map(as_floats).collect::<Vec<_>>()
    );
    assert_eq!((outcome.counts.windows, outcome.counts.revisions), (2, 0));
}
