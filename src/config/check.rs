//! Reading tables against declared keys; whatever is wrong is gathered, and reading goes on with the default.

use crate::config::nearest::nearest;
use crate::config::tree::{Node, Table, Tree, parse_value};
use crate::config::values::{did_you_mean, found, one_of, shown, value};
use crate::error::{ConfigProblem, Place};
use crate::settings::{Key, Kind, Value, Values};
use std::collections::BTreeSet;

/// What was found wrong, or worth a word, so far.
#[derive(Default)]
pub struct Findings {
    /// Reasons not to run.
    pub problems: Vec<ConfigProblem>,
    /// Things that run but are probably not meant.
    pub warnings: Vec<ConfigProblem>,
    /// A syntax error may have swallowed a key, so nothing is called missing.
    pub lost: bool,
    /// Keys that were given badly or under a misspelt name: their defaults stand in, and nothing is concluded from them.
    unsure: BTreeSet<String>,
}

/// A table that is being read.
#[derive(Clone)]
pub struct Section<'a> {
    /// Its full name, such as `windows`; empty for the whole configuration.
    pub path: String,
    /// Where its header stands.
    pub place: Place,
    /// What stands in it.
    pub table: &'a Table,
}

impl<'a> Section<'a> {
    /// The full name of one of its keys; its own for an empty one.
    pub fn key(&self, name: &str) -> String {
        if name.is_empty() {
            return self.path.clone();
        }
        let quoted = !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let name = if quoted { format!("{name:?}") } else { name.to_string() };
        if self.path.is_empty() { name } else { format!("{}.{name}", self.path) }
    }

    /// Where the value of a key (or of a key of a table in it, `a.b`) stands; what is absent stands where its table does.
    pub fn at(&self, key: &str) -> Place {
        let Some((name, node)) = self.table.0.iter().find(|(name, _)| within(key, name).is_some()) else {
            return self.place.clone();
        };
        match (&node.tree, within(key, name)) {
            (Tree::Table(table), Some(rest)) if !rest.is_empty() => {
                Section { path: String::new(), place: node.place.clone(), table }.at(rest)
            }
            _ => node.place.clone(),
        }
    }

    /// Whether a key was given, be it well or badly.
    pub fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// What stands in it under names that are not among `names`.
    pub fn without(&self, names: &[&str]) -> Table {
        let others = self.table.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        Table(others.cloned().collect())
    }

    /// The keys that were given.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.table.0.iter().map(|(name, _)| name.as_str())
    }
}

/// What is left of `key` below `name`: `Some("")` for `name` itself.
fn within<'k>(key: &'k str, name: &str) -> Option<&'k str> {
    let rest = key.strip_prefix(name)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
}

impl Findings {
    /// A reason not to run.
    pub fn problem(&mut self, place: Place, key: String, message: impl Into<String>) {
        self.problems.push(ConfigProblem { place, key, message: message.into() });
    }

    /// Something that is probably not meant.
    pub fn warning(&mut self, place: Place, key: String, message: impl Into<String>) {
        self.warnings.push(ConfigProblem { place, key, message: message.into() });
    }

    /// A problem with the value of a key.
    pub fn wrong(&mut self, section: &Section, key: &str, message: impl Into<String>) {
        let name = if key.contains('.') { format!("{}.{key}", section.path) } else { section.key(key) };
        self.problem(section.at(key), name, message);
    }

    /// A warning about the value of a key.
    pub fn doubtful(&mut self, section: &Section, key: &str, message: impl Into<String>) {
        let name = if key.contains('.') { format!("{}.{key}", section.path) } else { section.key(key) };
        self.warning(section.at(key), name, message);
    }

    /// A key of another kind than the section's: a mistake, unless a later layer has changed the kind.
    pub fn foreign(&mut self, section: &Section, key: &str, message: impl Into<String>) {
        let message = message.into();
        match section.has("kind") && section.at("kind").overrides(&section.at(key)) {
            true => self.doubtful(section, key, format!("{message}, so it is not used")),
            false => self.wrong(section, key, message),
        }
    }

    /// The table `name` of `section`, if it is there and is a table.
    pub fn section<'a>(&mut self, section: &Section<'a>, name: &str) -> Option<Section<'a>> {
        let node = section.table.get(name)?;
        let path = section.key(name);
        match &node.tree {
            Tree::Table(table) => Some(Section { path, place: node.key.clone(), table }),
            tree => {
                self.unsure.insert(path.clone());
                if *tree == Tree::Broken {
                    return None;
                }
                let message = format!("expected a table, found {}; write [{path}]", found(tree));
                self.problem(node.key.clone(), path, message);
                None
            }
        }
    }

    /// All tables of `section`, by name.
    pub fn sections<'a>(&mut self, section: &Section<'a>) -> Vec<(&'a str, Section<'a>)> {
        let names: Vec<&'a str> = section.names().collect();
        names.into_iter().filter_map(|name| Some((name, self.section(section, name)?))).collect()
    }

    /// The `kind` of a source or a sink, the first one when none is given; of `kinds`, each has a name and perhaps the reason
    /// why this build lacks it. `None`: none that there is, and that has been said.
    pub fn kind<'k>(
        &mut self,
        section: &Section,
        kinds: impl Iterator<Item = (&'k str, Option<&'k str>)> + Clone,
    ) -> Option<&'k str> {
        let mut here = kinds.clone().filter(|(_, absent)| absent.is_none()).map(|(name, _)| name);
        let expected = one_of(here.clone());
        let Some(node) = section.table.get("kind") else { return here.next() };
        let message = match value(&Kind::Text, node) {
            Ok(Some(Value::Text(name))) => match kinds.clone().find(|(known, _)| *known == name) {
                Some((known, None)) => return Some(known),
                Some((_, Some(absent))) => format!("{absent}; use {expected}"),
                None => format!("expected {expected}, found {}{}", shown(&name), did_you_mean(&name, here)),
            },
            Ok(_) => return None,
            Err(_) => format!("expected {expected}, found {}", found(&node.tree)),
        };
        self.wrong(section, "kind", message);
        None
    }

    /// The values of `keys`, defaults included; what is wrong counts as not given. Keys that are neither among them nor
    /// among `others` (read by somebody else) are unknown; `required` ones are missed.
    pub fn values(&mut self, section: &Section, keys: &[Key], others: &[&str], required: &[&str]) -> Values {
        let known: Vec<&str> = keys.iter().map(|key| key.name).chain(others.iter().copied()).collect();
        let meant = self.unknown(section, &known);
        let mut values = Values::default();
        for key in keys {
            let given = section.table.get(key.name).and_then(|node| self.value(section, key, node));
            if let Some(value) = given.or_else(|| default(key)) {
                values.keys.insert(key.name.to_string(), value);
            }
            if required.contains(&key.name) && !section.has(key.name) && !meant.contains(&key.name) {
                self.missing(section, key);
            }
        }
        values
    }

    /// Whether the value of a key, and all below it, is what was said, or its default because nothing was said.
    pub fn sure(&self, section: &Section, key: &str) -> bool {
        let key = section.key(key);
        !self.unsure.iter().any(|unsure| within(unsure, &key).is_some())
    }

    fn value(&mut self, section: &Section, key: &Key, node: &Node) -> Option<Value> {
        let value = value(&key.kind, node).unwrap_or_else(|message| {
            self.problem(node.place.clone(), section.key(key.name), message);
            None
        });
        if value.is_none() {
            self.unsure.insert(section.key(key.name));
        }
        value
    }

    fn missing(&mut self, section: &Section, key: &Key) {
        if !self.lost {
            let line = key.doc.lines().next().unwrap_or_default();
            let doc = line.split_once(". ").map_or(line, |(sentence, _)| sentence).trim_end_matches('.');
            let mut doc = doc.chars();
            let first = doc.next().map(|first| first.to_ascii_lowercase()).into_iter();
            let message = format!("missing; give {}", first.chain(doc).collect::<String>());
            self.problem(section.place.clone(), section.key(key.name), message);
        }
    }

    /// Reports keys that are not known here; returns the known ones that they were probably meant to be.
    pub fn unknown<'k>(&mut self, section: &Section, known: &[&'k str]) -> Vec<&'k str> {
        let mut meant = Vec::new();
        for (name, node) in section.table.0.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            let what = if matches!(node.tree, Tree::Table(_)) { "table" } else { "key" };
            // A known key that is there already cannot be what was meant.
            let near = nearest(name, known.iter().copied().filter(|known| !section.has(known)));
            let help = match near {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.unsure.extend(near.map(|near| section.key(near)));
            meant.extend(near);
            self.problem(node.key.clone(), section.key(name), format!("unknown {what}; {help}"));
        }
        meant
    }
}

/// The default of a key.
pub fn default(key: &Key) -> Option<Value> {
    let tree = parse_value(&Place::Nowhere, key.default?)?;
    value(&key.kind, &Node { key: Place::Nowhere, place: Place::Nowhere, tree }).ok()?
}
