//! Broken configurations with everything that is said of them, word for word.

use super::{lines, load_all};

const CASES: &str = include_str!("broken.txt");

/// The file has cases: a configuration, `---`, the lines that are said (warnings with `warning: ` before them), `===`.
#[test]
fn all_problems_are_found_in_one_go() {
    let mut wrong = Vec::new();
    for (number, case) in CASES.split("===\n").enumerate() {
        let (file, expected) = case.split_once("---\n").unwrap_or((case, ""));
        let loaded = load_all(file, &[], &[]);
        assert_eq!(loaded.settings.is_none(), !loaded.problems.is_empty());
        let warnings = lines(&loaded.warnings).into_iter().map(|line| format!("warning: {line}"));
        let said: String = lines(&loaded.problems).into_iter().chain(warnings).map(|line| line + "\n").collect();
        if said != expected {
            wrong.push(format!("case {}:\n{file}---\n{said}", number + 1));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("===\n"));
}
