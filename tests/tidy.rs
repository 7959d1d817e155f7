//! The architecture as rules over the source text: which module may use which, what only some may touch, what each file
//! starts with. Paths are read as the compiler would read them, so comments, texts and test modules do not count.

use std::fs;
use std::path::{Path, PathBuf};

/// Every top module of the library with its level. A module uses what stands on a lower level, and itself.
const LEVELS: &[(&str, u8)] = &[
    ("error", 0),
    ("fault", 0),
    ("model", 0),
    ("settings", 0),
    ("telemetry", 0),
    ("time", 0),
    ("codec", 1),
    ("detectors", 1),
    ("event_time", 1),
    ("state", 1),
    ("windows", 1),
    ("checkpoint", 2),
    ("connectors", 2),
    ("simulator", 2),
    ("drivers", 3),
    ("operators", 4),
    ("config", 5),
    ("flow", 5),
    ("runtime", 6),
    ("api", 7),
    ("cli", 7),
    ("prelude", 8),
];

/// Who uses what on the same level.
const SIDEWAYS: &[(&str, &str)] = &[
    ("codec", "state"),
    ("connectors", "simulator"),
    ("detectors", "state"),
    ("error", "model"),
    ("error", "settings"),
    ("event_time", "state"),
    ("flow", "config"),
    ("windows", "state"),
];

/// What the pure levels, 0 and 1, do not know.
const IMPURE: &[&str] =
    &["timely", "differential_dataflow", "std::fs", "std::net", "std::process", "std::thread", "std::time"];

/// What is pure but for one thing: the only reader of the clock, the end of a process that must not go on, and the list of
/// places where one was killed on purpose.
const IMPURE_BY_DESIGN: &[(&str, &str)] = &[("error", "std::process"), ("fault", "std::fs"), ("time", "std::time")];

/// The modules whose code names capabilities and frontiers: drivers hold them, flow and runtime have them in types.
const TOUCH_CAPABILITIES: &[&str] = &["drivers", "flow", "runtime"];

#[test]
fn arrows_only_go_down_the_layers() {
    report(over_library(|module, code| {
        paths(code)
            .iter()
            .filter(|path| path.contains("::"))
            .filter_map(|path| Some(format!("{module} uses {path}: {}", layer_fault(module, path)?)))
            .collect()
    }));
}

#[test]
fn only_drivers_touch_capabilities_and_frontiers() {
    report(over_library(capability_faults));
}

#[test]
fn every_file_says_what_it_is_for() {
    let files = ["src", "dataflows", "tests"].iter().flat_map(|folder| rust_files(&root().join(folder)));
    report(
        files
            .filter(|file| !starts_with_doc(&read(file)))
            .map(|file| format!("{}: no //! at its start", shown(&file)))
            .collect(),
    );
}

/// Runs a check over the code of every file of the library: (top module, code) to faults.
fn over_library(check: impl Fn(&str, &str) -> Vec<String>) -> Vec<String> {
    let src = root().join("src");
    let files = rust_files(&src);
    assert!(files.len() > 10, "the sources were not found");
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| !is_test(file)) {
        let Some(module) = top_module(file.strip_prefix(&src).expect("files are below src")) else { continue };
        faults.extend(check(&module, &code_of(&read(file))).into_iter().map(|fault| format!("{}: {fault}", shown(file))));
    }
    faults
}

/// Why `module` must not use `path`.
fn layer_fault(module: &str, path: &str) -> Option<String> {
    let Some(level) = level_of(module) else { return Some(format!("{module} has no level in tests/tidy.rs")) };
    let inside = |outer: &str| path == outer || path.strip_prefix(outer).is_some_and(|rest| rest.starts_with("::"));
    if level <= 1 {
        let impure = IMPURE.iter().find(|outer| inside(outer) && !IMPURE_BY_DESIGN.contains(&(module, outer)));
        if let Some(outer) = impure {
            return Some(format!("levels 0 and 1 are pure, without {outer}"));
        }
    }
    let used = used_module(path)?;
    if used == module || SIDEWAYS.contains(&(module, used)) {
        return None;
    }
    match level_of(used) {
        None => Some(format!("{used} has no level in tests/tidy.rs")),
        Some(below) if below < level => None,
        Some(other) => Some(format!("{module} is on level {level}, {used} on level {other}")),
    }
}

/// The top module that a path leads into, by `crate::` or by enough `super::`.
fn used_module(path: &str) -> Option<&str> {
    if let Some(rest) = path.strip_prefix("crate::") {
        return rest.split("::").next();
    }
    let first = path.split("::").find(|part| *part != "super")?;
    (path.starts_with("super::") && level_of(first).is_some()).then_some(first)
}

fn level_of(module: &str) -> Option<u8> {
    LEVELS.iter().find(|(name, _)| *name == module).map(|(_, level)| *level)
}

fn capability_faults(module: &str, code: &str) -> Vec<String> {
    let named = |word: &&str| word.contains("Capability") || word.contains("frontier");
    match TOUCH_CAPABILITIES.contains(&module) {
        true => Vec::new(),
        false => words(code).filter(named).map(|word| format!("only drivers touch {word}")).collect(),
    }
}

fn starts_with_doc(text: &str) -> bool {
    text.starts_with("//!")
}

/// Fails with all faults at once.
#[track_caller]
fn report(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

// Files.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// All `.rs` files below a folder, sorted; without what a build leaves there.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for path in entries.map(|entry| entry.expect("a listed entry can be read").path()) {
        if path.is_dir() && !path.ends_with("target") {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Whether a file of the library holds a test module.
fn is_test(file: &Path) -> bool {
    file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests")
}

/// The top module of a file below src; none for the crate root.
fn top_module(file: &Path) -> Option<String> {
    let first = file.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (name != "lib").then(|| name.to_string())
}

// Source text.

/// The code of a file: comments, the insides of texts, and items under `#[cfg(test)]` are left out.
fn code_of(text: &str) -> String {
    let mut code = without_comments_and_texts(text);
    const MARK: &str = "#[cfg(test)]";
    while let Some(start) = code.find(MARK) {
        let end = start + MARK.len() + item_length(&code[start + MARK.len()..]);
        code.replace_range(start..end, "");
    }
    code
}

/// Length of the item at the start of `code`: to its `;`, or to the brace that closes its body.
fn item_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' | b')' | b']' => depth -= 1,
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

fn without_comments_and_texts(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = skipped_length(rest, code.chars().next_back());
        if skipped > 0 {
            code.push(' ');
            rest = &rest[skipped..];
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    code
}

/// Length of the comment, text or character at the start of `rest`; 0 when there is none.
fn skipped_length(rest: &str, before: Option<char>) -> usize {
    let to = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return to("*/", 2);
    }
    if rest.starts_with('"') {
        return text_length(rest);
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|_| !in_word);
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            return to(&format!("\"{}", "#".repeat(hashes)), rest.len() - raw.len() + hashes + 1);
        }
    }
    // A quote starts a character when another closes it; else it starts a lifetime.
    match rest.strip_prefix('\'') {
        Some(inner) if inner.starts_with('\\') => to("'", 3),
        Some(inner) => match inner.chars().next() {
            Some(one) if inner[one.len_utf8()..].starts_with('\'') => one.len_utf8() + 2,
            _ => 0,
        },
        None => 0,
    }
}

fn text_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// All paths of the code, groups written out: `use a::{b, c::d}` gives `a::b` and `a::c::d`.
fn paths(code: &str) -> Vec<String> {
    let tokens = tokens(code);
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        at = path_at(&tokens, at, "", &mut found);
    }
    found
}

/// Identifiers, `::`, and every other sign by itself.
fn tokens(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = code.trim_start();
    while let Some(next) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = if word > 0 {
            word
        } else if rest.starts_with("::") {
            2
        } else {
            next.len_utf8()
        };
        found.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    found
}

/// Reads the path or the sign at `at`, below `prefix`; returns where to go on.
fn path_at(tokens: &[&str], mut at: usize, prefix: &str, found: &mut Vec<String>) -> usize {
    let mut path = prefix.to_string();
    loop {
        match tokens.get(at) {
            Some(&"{") if path.ends_with("::") => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    at = path_at(tokens, at, &path, found);
                }
                return at + 1;
            }
            Some(word) if word.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '*') => {
                path.push_str(word);
                at += 1;
            }
            _ => {
                // A turbofish ends a path as well.
                found.extend(path.strip_suffix("::").filter(|_| path != prefix).map(str::to_string));
                return at + 1;
            }
        }
        if tokens.get(at) != Some(&"::") {
            found.push(path);
            return at;
        }
        path.push_str("::");
        at += 1;
    }
}

// The checks themselves, each seen to fail.

#[test]
fn code_leaves_out_comments_texts_and_tests() {
    let text = r##"
        //! crate::cli
        use crate::model; // crate::cli
        /* crate::cli */ const A: &str = "crate::cli \" crate::cli"; const B: char = '"'; fn f<'a>(x: &'a str) {}
        const C: &str = r#"crate::cli " "#;
        #[cfg(test)]
        use crate::cli;
        #[cfg(test)]
        #[allow(x)]
        mod tests { use crate::cli; fn g() { if true {} } }
        fn after() { crate::state::of() }
    "##;
    let used: Vec<String> = paths(&code_of(text)).into_iter().filter(|path| path.starts_with("crate")).collect();
    assert_eq!(used, ["crate::model", "crate::state::of"]);
}

#[test]
fn groups_are_written_out() {
    let got = paths("use crate::{model::{meter, pod::*}, state}; let x = a::b::<T>(); if y { z::w() }");
    let wanted =
        ["use", "crate::model::meter", "crate::model::pod::*", "crate::state", "let", "x", "a::b", "T", "if", "y", "z::w"];
    assert_eq!(got, wanted);
}

#[test]
fn a_wrong_arrow_is_a_fault() {
    let cases = [
        ("windows", "crate::model::meter", true),
        ("windows", "crate::state::Keyed", true),
        ("windows", "crate::windows::x", true),
        ("windows", "crate::codec", false),
        ("state", "crate::windows", false),
        ("model", "crate::state::Keyed", false),
        ("model", "super::state", false),
        ("model", "super::reading::Batch", true),
        ("cli", "crate::prelude", false),
        ("cli", "crate::runtime", true),
        ("operators", "crate::flow", false),
        ("codec", "std::fs::File", false),
        ("codec", "std::format", true),
        ("codec", "timely", false),
        ("time", "std::time::Instant", true),
        ("model", "std::time::Instant", false),
        ("drivers", "std::time::Instant", true),
        ("cli", "crate::surprise::x", false),
        ("surprise", "crate::model", false),
    ];
    for (module, path, right) in cases {
        assert_eq!(layer_fault(module, path).is_none(), right, "{module} uses {path}");
    }
}

#[test]
fn arrows_on_a_level_never_go_both_ways() {
    for (from, to) in SIDEWAYS {
        assert_eq!(level_of(from), level_of(to), "{from} and {to} are on different levels");
        assert!(from < to || !SIDEWAYS.contains(&(to, from)), "{from} and {to} use each other");
    }
}

#[test]
fn a_capability_outside_the_drivers_is_a_fault() {
    let code = "let c: Capability<u64> = x; y.frontier();";
    assert_eq!(capability_faults("operators", code).len(), 2);
    assert_eq!(capability_faults("drivers", code).len(), 0);
    assert_eq!(capability_faults("operators", &code_of("// Capability\nlet c = \"frontier\";")).len(), 0);
}

#[test]
fn a_file_without_a_doc_is_a_fault() {
    assert!(starts_with_doc("//! Meters.\n"));
    assert!(!starts_with_doc("// Meters.\n") && !starts_with_doc("\n//! Meters.") && !starts_with_doc("use x;"));
}
