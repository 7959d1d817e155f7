//! The layers of a configuration: file, then environment, then `--set`; later wins, key by key.

use crate::config::check::Findings;
use crate::config::tree::{Node, Table, Tree, parse, parse_value};
use crate::config::values::shown;
use crate::error::Place;
use serde::{Deserialize, Serialize};

/// What the names of variables that are settings begin with.
const PREFIX: &str = "METERFLOW_";
/// What stands between two levels in the name of a variable.
const LEVEL: &str = "__";

/// Everything that was said.
#[derive(Clone, Copy, Default, Debug)]
pub struct Given<'a> {
    /// Name and text of the file.
    pub file: Option<(&'a str, &'a str)>,
    /// Names and values of environment variables; those that are no settings are passed over.
    pub variables: &'a [(String, String)],
    /// What `--set` was given, `windows.slide=10s`.
    pub sets: &'a [String],
}

/// Everything that was said, to be stored and said again.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Recorded {
    file: Option<(String, String)>,
    variables: Vec<(String, String)>,
    sets: Vec<String>,
}

impl Recorded {
    /// Records what was said; variables that are no settings are left out.
    pub fn new(given: &Given) -> Recorded {
        let is_setting = |(name, _): &&(String, String)| {
            name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX)) && name.contains(LEVEL)
        };
        let mut variables: Vec<(String, String)> = given.variables.iter().filter(is_setting).cloned().collect();
        variables.sort();
        let file = given.file.map(|(name, text)| (name.to_owned(), text.to_owned()));
        Recorded { file, variables, sets: given.sets.to_vec() }
    }

    /// It again.
    pub fn given(&self) -> Given<'_> {
        let file = self.file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        Given { file, variables: &self.variables, sets: &self.sets }
    }
}

/// All layers in one table. `tables` are the names on the first level.
pub fn merge(given: &Given, tables: &[&str], findings: &mut Findings) -> Table {
    let mut root = Table::default();
    if let Some((name, text)) = given.file {
        let parsed = parse(name, text);
        root = parsed.table;
        findings.problems.extend(parsed.problems);
        findings.lost = parsed.lost;
    }
    let mut variables: Vec<&(String, String)> = given.variables.iter().collect();
    variables.sort();
    for (name, value) in variables {
        variable(name, value, tables, &mut root, findings);
    }
    for set in given.sets {
        flag(set, &mut root, findings);
    }
    root
}

/// A variable is a setting when its name has a prefix and two levels: `METERFLOW_WINDOWS__SLIDE`. (An orchestrator may
/// inject others with the same prefix, such as `METERFLOW_PORT`; they are none of ours.)
fn variable(name: &str, value: &str, tables: &[&str], root: &mut Table, findings: &mut Findings) {
    let Some(rest) =
        name.get(..PREFIX.len()).filter(|start| start.eq_ignore_ascii_case(PREFIX)).map(|_| &name[PREFIX.len()..])
    else {
        return;
    };
    let place = Place::Variable(name.to_string());
    if !rest.contains(LEVEL) {
        let table = rest.split('_').next().unwrap_or_default().to_lowercase();
        if tables.contains(&table.as_str()) && rest.len() > table.len() {
            let right = format!("{}{LEVEL}{}", &name[..PREFIX.len() + table.len()], &rest[table.len() + 1..]);
            let message = format!("is no setting: two underscores stand between levels, such as {right}");
            findings.warning(place, String::new(), message);
        }
        return;
    }
    let levels: Vec<&str> = rest.split(LEVEL).collect();
    if levels.iter().any(|level| level.is_empty()) {
        findings.problem(
            place,
            String::new(),
            "is no setting: expected names between the underscores, such as METERFLOW_WINDOWS__SLIDE",
        );
        return;
    }
    let path = spelled(&levels, root);
    root.overlay(&path, node(place, value));
}

/// Names in a variable have no case: they are those that are there already, else in lower case.
fn spelled(levels: &[&str], root: &Table) -> Vec<String> {
    let mut table = Some(root);
    let mut path = Vec::new();
    for level in levels {
        let there = table.and_then(|table| table.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(level)));
        let name = there.map_or_else(|| level.to_lowercase(), |(name, _)| name.clone());
        table = table.and_then(|table| table.table(&name));
        path.push(name);
    }
    path
}

fn flag(set: &str, root: &mut Table, findings: &mut Findings) {
    match split(set) {
        Some((path, value)) => root.overlay(&path, node(Place::Flag, value)),
        None => {
            let message = format!("expected a key and its value, such as windows.slide=10s, found {}", shown(set));
            findings.problem(Place::Flag, String::new(), message);
        }
    }
}

/// The names and the value of `a.b.c=value`; a name may stand in quotes when it has a dot or an equals sign.
fn split(set: &str) -> Option<(Vec<String>, &str)> {
    let (mut path, mut name, mut quoted) = (Vec::new(), String::new(), false);
    for (index, c) in set.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '.' | '=' if !quoted => {
                let whole = std::mem::take(&mut name).trim().to_string();
                if whole.is_empty() {
                    return None;
                }
                path.push(whole);
                if c == '=' {
                    return Some((path, &set[index + 1..]));
                }
            }
            _ => name.push(c),
        }
    }
    None
}

/// A table in braces is laid over what is there key by key; any other text waits for its key to say what it means.
fn node(place: Place, text: &str) -> Node {
    let table = text.trim_start().starts_with('{').then(|| parse_value(&place, text.trim())).flatten();
    Node { key: place.clone(), place, tree: table.unwrap_or_else(|| Tree::Raw(text.to_string())) }
}
