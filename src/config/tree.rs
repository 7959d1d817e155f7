//! A configuration as one tree in which everything knows where it was said; later layers are laid over earlier ones.
//!
//! A syntax error costs the value it stands in, never the rest of the file, so that all problems are found in one go.

use crate::error::{ConfigProblem, Place};
use toml::de::{DeTable, DeValue};

/// A value and where it was said.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Where its key stands.
    pub key: Place,
    /// Where the value stands.
    pub place: Place,
    /// The value.
    pub tree: Tree,
}

/// What stands under a key.
#[derive(Clone, PartialEq, Debug)]
pub enum Tree {
    /// Text in quotes.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(Table),
    /// The text of a variable or a `--set`: what it means depends on the key.
    Raw(String),
    /// Something that no key takes, in words.
    Other(String),
    /// Could not be parsed; that has been said already.
    Broken,
}

/// Keys in the order in which they were said.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Table(pub Vec<(String, Node)>);

impl Table {
    /// What stands under `key`.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// The table under `key`, if it is one.
    pub fn table(&self, key: &str) -> Option<&Table> {
        match &self.get(key)?.tree {
            Tree::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Lays `node` over what stands under `path`: tables key by key, everything else by replacing it.
    pub fn overlay(&mut self, path: &[String], node: Node) {
        let [name, rest @ ..] = path else { return };
        let index = self.0.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            let table = Node { tree: Tree::Table(Table::default()), ..node.clone() };
            self.0.push((name.clone(), table));
            self.0.len() - 1
        });
        let below = &mut self.0[index].1;
        match (&mut below.tree, node.tree, rest) {
            (Tree::Table(table), Tree::Table(over), []) => {
                over.0.into_iter().for_each(|(name, node)| table.overlay(&[name], node));
            }
            (_, tree, []) => *below = Node { tree, ..node },
            (Tree::Table(table), tree, rest) => table.overlay(rest, Node { tree, ..node }),
            (_, tree, rest) => {
                let mut table = Table::default();
                table.overlay(rest, Node { tree, key: node.key.clone(), place: node.place.clone() });
                *below = Node { tree: Tree::Table(table), ..node };
            }
        }
    }
}

/// A parsed file.
pub struct Parsed {
    /// What could be read.
    pub table: Table,
    /// Syntax errors.
    pub problems: Vec<ConfigProblem>,
    /// Whether a key or the header of a table may have been lost, not just a value.
    pub lost: bool,
}

const UNQUOTED: &str = "string values must be quoted";

/// Parses TOML; `name` is the file's name in problems.
pub fn parse(name: &str, text: &str) -> Parsed {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { name, text, errors: Vec::new() };
    let mut problems: Vec<ConfigProblem> = Vec::new();
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let found = text.get(span.clone()).filter(|found| !found.is_empty() && !found.contains('\n'));
        let message = match (error.message(), found) {
            // The parser takes any unknown word, even none, for text without quotes.
            (message, None) if message.starts_with(UNQUOTED) => "not valid TOML: a value is missing".to_string(),
            (message, Some(found)) if message.starts_with(UNQUOTED) => format!("not valid TOML: {UNQUOTED}, found {found}"),
            (message, found) => {
                format!("not valid TOML: {message}{}", found.map_or(String::new(), |found| format!(", found {found}")))
            }
        };
        let problem = ConfigProblem { place: reader.place(span.start), key: String::new(), message };
        if !problems.iter().any(|known| known.place == problem.place) {
            problems.push(problem);
            reader.errors.push((span.start, false));
        }
    }
    let table = reader.table(root.get_ref());
    let lost = reader.errors.iter().any(|(_, in_value)| !in_value);
    Parsed { table, problems, lost }
}

/// Parses one TOML value as it may stand in a variable or a `--set`; everything in it stands at `place`.
pub fn parse_value(place: &Place, text: &str) -> Option<Tree> {
    let value = DeValue::parse(text).ok()?;
    let mut reader = Reader { name: "", text, errors: Vec::new() };
    let mut node = reader.node(0..0, 0..0, value.get_ref());
    stand_at(place, &mut node);
    Some(node.tree)
}

fn stand_at(place: &Place, node: &mut Node) {
    (node.key, node.place) = (place.clone(), place.clone());
    match &mut node.tree {
        Tree::List(list) => list.iter_mut().for_each(|node| stand_at(place, node)),
        Tree::Table(table) => table.0.iter_mut().for_each(|(_, node)| stand_at(place, node)),
        _ => {}
    }
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    /// Where each syntax error stands, and whether it lies in a value that was marked as broken.
    errors: Vec<(usize, bool)>,
}

impl Reader<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let start = before.rfind('\n').map_or(0, |feed| feed + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[start..].trim_start_matches('\u{feff}').chars().count() + 1;
        Place::File { name: self.name.to_string(), line, column }
    }

    fn table(&mut self, table: &DeTable) -> Table {
        // The parser sorts by name; the order of the file is that of the keys' positions.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut known = Table::default();
        for (key, value) in entries {
            let node = self.node(key.span(), value.span(), value.get_ref());
            known.0.push((key.get_ref().to_string(), node));
        }
        known
    }

    fn node(&mut self, key: std::ops::Range<usize>, span: std::ops::Range<usize>, value: &DeValue) -> Node {
        let tree = match value {
            DeValue::Table(table) => Tree::Table(self.table(table)),
            _ if self.breaks(&span) => Tree::Broken,
            DeValue::String(text) => Tree::Text(text.to_string()),
            DeValue::Boolean(flag) => Tree::Bool(*flag),
            DeValue::Datetime(date) => Tree::Other(format!("the date {date}")),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Tree::Integer(number),
                Err(_) => Tree::Other(format!("the number {number}")),
            },
            DeValue::Float(number) => Tree::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Array(list) => {
                Tree::List(list.iter().map(|value| self.node(value.span(), value.span(), value.get_ref())).collect())
            }
        };
        Node { key: self.place(key.start), place: self.place(span.start), tree }
    }

    /// Whether a syntax error lies in the value; it is then accounted for.
    fn breaks(&mut self, span: &std::ops::Range<usize>) -> bool {
        let mut broken = false;
        for (_, in_value) in self.errors.iter_mut().filter(|(start, _)| (span.start..=span.end).contains(start)) {
            (*in_value, broken) = (true, true);
        }
        broken
    }
}
