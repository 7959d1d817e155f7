//! The pages for readers: what they show is what the program says, and what they link to is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program of this build.
const METERFLOW: &str = env!("CARGO_BIN_EXE_meterflow");

const CONFIGURATION: &str = "deploy/configuration.md";
const BLOCK: &str = "```toml\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &Path) -> String {
    fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// All pages of the project.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    for folder in ["deploy", "dataflows", "tests/fixtures"] {
        let entries = fs::read_dir(root().join(folder)).expect("a folder of the project");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        pages.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    pages.sort();
    pages
}

#[test]
fn the_configuration_page_is_what_the_program_prints() {
    let output = Command::new(METERFLOW).arg("config").output().expect("the program starts");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let page = root().join(CONFIGURATION);
    let text = read(&page);
    let start = text.find(BLOCK).expect("a block of TOML") + BLOCK.len();
    let end = start + text[start..].find("```").expect("the end of the block");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&page, format!("{}{printed}{}", &text[..start], &text[end..])).expect("the page can be written");
        return;
    }
    let same = text[start..end] == printed;
    assert!(same, "{CONFIGURATION} is out of date: UPDATE_DOCS=1 cargo test --test integration docs");
}

#[test]
fn configurations_that_pages_show_are_right() {
    let file = std::env::temp_dir().join(format!("meterflow-docs-{}.toml", std::process::id()));
    let mut checked = 0;
    for page in pages() {
        for block in read(&page).split(BLOCK).skip(1) {
            fs::write(&file, block.split("```").next().unwrap_or_default()).expect("a temporary file");
            let check =
                Command::new(METERFLOW).arg("check").arg("--config").arg(&file).output().expect("the program starts");
            let said = String::from_utf8_lossy(&check.stdout);
            assert!(check.status.success() && !said.contains("warning"), "{}: {said}", page.display());
            checked += 1;
        }
    }
    fs::remove_file(&file).expect("it was written");
    assert!(checked >= 2, "the README and the configuration page have one each");
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = read(&page);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { page.clone() } else { page.with_file_name(path) };
            let is_there = file.exists() && (anchor.is_empty() || anchors(&read(&file)).contains(anchor));
            if !is_there {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let anchor = |heading: &str| {
        let title = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        title.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    headings.map(anchor).collect()
}
