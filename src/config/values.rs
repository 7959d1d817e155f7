//! One value: from what was said to what its key takes, or a message with what was found and what would be right.

use crate::config::nearest::nearest;
use crate::config::tree::{Node, Tree, parse_value};
use crate::settings::{Kind, Value, format_duration, format_size, parse_duration, parse_size};

/// Longest piece of a value that a message repeats, in characters.
const SHOWN: usize = 60;

/// The value of a key that takes `kind`; `Ok(None)`: it was broken, and that has been said.
pub fn value(kind: &Kind, node: &Node) -> Result<Option<Value>, String> {
    let parsed;
    let node = match &node.tree {
        Tree::Broken => return Ok(None),
        Tree::Raw(text) => {
            parsed = Node { tree: meant(kind, text, node), ..node.clone() };
            &parsed
        }
        _ => node,
    };
    let wrong = || format!("expected {}, found {}", expected(kind), found(&node.tree));
    let text = match &node.tree {
        Tree::Text(text) => Some(text.as_str()),
        _ => None,
    };
    let value = match *kind {
        Kind::Text => text.map(|text| Value::Text(text.to_string())),
        Kind::Choice(names) => match text {
            Some(text) if names.contains(&text) => Some(Value::Text(text.to_string())),
            Some(text) => return Err(wrong() + &did_you_mean(text, names.iter().copied())),
            None => None,
        },
        Kind::Bool => match node.tree {
            Tree::Bool(flag) => Some(Value::Bool(flag)),
            _ => None,
        },
        Kind::Integer(low, high) => match node.tree {
            Tree::Integer(number) => (low..=high).contains(&number).then_some(Value::Integer(number)),
            _ => None,
        },
        Kind::Float(low, high) => match node.tree {
            Tree::Integer(number) => Some(number as f64),
            Tree::Float(number) => Some(number),
            _ => None,
        }
        .filter(|number| number.is_finite() && (low..=high).contains(number))
        .map(Value::Float),
        Kind::DurationOrOff(..) if text == Some("off") => Some(Value::Off),
        Kind::Duration(low, high) | Kind::DurationOrOff(low, high) => {
            text.and_then(parse_duration).filter(|ms| (low..=high).contains(ms)).map(Value::Duration)
        }
        Kind::SizeOrAuto(..) if text == Some("auto") => Some(Value::Auto),
        Kind::Size(low, high) | Kind::SizeOrAuto(low, high) => match (&node.tree, text) {
            (Tree::Integer(bytes), _) => u64::try_from(*bytes).ok(),
            (_, text) => text.and_then(parse_size),
        }
        .filter(|bytes| (low..=high).contains(bytes))
        .map(Value::Size),
        Kind::List | Kind::Channels => texts(node).map(Value::List),
        Kind::Names => match &node.tree {
            Tree::Table(table) => Some(Value::Names(table.0.iter().map(named).collect::<Result<_, _>>()?)),
            _ => {
                let names = texts(node).map(|names| names.into_iter().map(|name| (name.clone(), vec![name])));
                names.map(|names| Value::Names(names.collect()))
            }
        },
    };
    value.map(Some).ok_or_else(wrong)
}

/// What the text of a variable or a `--set` means to a key: quotes, lists and tables as in the file, but a bare word needs
/// no quotes, and a list no brackets.
fn meant(kind: &Kind, text: &str, node: &Node) -> Tree {
    let quoted = || match text.starts_with(['"', '\'']) {
        true => parse_value(&node.place, text),
        false => None,
    };
    let bare = || Tree::Text(text.to_string());
    match kind {
        Kind::Bool | Kind::Integer(..) | Kind::Float(..) => parse_value(&node.place, text).unwrap_or_else(bare),
        Kind::List | Kind::Channels | Kind::Names => {
            let whole = text.starts_with(['[', '{', '"', '\'']).then(|| parse_value(&node.place, text)).flatten();
            whole.unwrap_or_else(|| {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Tree::List(parts.map(|part| Node { tree: Tree::Text(part.to_string()), ..node.clone() }).collect())
            })
        }
        _ => quoted().unwrap_or_else(bare),
    }
}

/// Texts of a list; none may be empty.
fn texts(node: &Node) -> Option<Vec<String>> {
    let Tree::List(list) = &node.tree else { return None };
    let text = |node: &Node| match &node.tree {
        Tree::Text(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    list.iter().map(text).collect()
}

/// A name with its fields, from a table of such.
fn named((name, node): &(String, Node)) -> Result<(String, Vec<String>), String> {
    let tree = match &node.tree {
        Tree::Raw(text) => meant(&Kind::List, text, node),
        tree => tree.clone(),
    };
    let node = Node { tree, ..node.clone() };
    match texts(&node) {
        Some(fields) if !fields.is_empty() && !name.is_empty() => Ok((name.clone(), fields)),
        _ => Err(format!("expected the fields of each name, such as {name:?} = [{name:?}], found {}", found(&node.tree))),
    }
}

/// What a key takes, in words.
pub fn expected(kind: &Kind) -> String {
    let duration = |low: i64, high: i64| {
        let range = format!("{} to {}", format_duration(low), format_duration(high));
        format!("a duration from {range} with its unit (ms, s, m, h, d), such as \"30s\"")
    };
    let size = |low, high| format!("a size from {} to {}, such as \"4MiB\"", format_size(low), format_size(high));
    match *kind {
        Kind::Text => "text in quotes".to_string(),
        Kind::Bool => "true or false".to_string(),
        Kind::Choice(names) => one_of(names.iter().copied()),
        Kind::Integer(low, i64::MAX) => format!("a whole number of at least {low}"),
        Kind::Integer(low, high) => format!("a whole number from {low} to {high}"),
        Kind::Float(f64::MIN, f64::MAX) => "a finite number".to_string(),
        Kind::Float(low, f64::MAX) => format!("a finite number of at least {low:?}"),
        Kind::Float(low, high) => format!("a number from {low:?} to {high:?}"),
        Kind::Duration(low, high) => duration(low, high),
        Kind::DurationOrOff(low, high) => duration(low, high) + ", or \"off\"",
        Kind::Size(low, high) => size(low, high),
        Kind::SizeOrAuto(low, high) => size(low, high) + ", or \"auto\"",
        Kind::List => "a list of texts, such as [\"a\", \"b\"]".to_string(),
        Kind::Channels => "a list of channels, such as [\"voltage\", \"current\"]".to_string(),
        Kind::Names => {
            "a list of names, such as [\"voltage\"], or a table such as { voltage = [\"u\", \"volts\"] }".to_string()
        }
    }
}

/// What was said, in words.
pub fn found(tree: &Tree) -> String {
    match tree {
        Tree::Text(text) | Tree::Raw(text) => shown(text),
        Tree::Integer(number) => format!("the number {number}"),
        Tree::Float(number) => format!("the number {number:?}"),
        Tree::Bool(flag) => flag.to_string(),
        Tree::List(list) => match list.iter().find(|node| !matches!(&node.tree, Tree::Text(text) if !text.is_empty())) {
            Some(node) if !matches!(node.tree, Tree::List(_)) => format!("a list with {}", found(&node.tree)),
            _ if list.is_empty() => "an empty list".to_string(),
            _ => "a list".to_string(),
        },
        Tree::Table(_) => "a table".to_string(),
        Tree::Other(words) => words.clone(),
        Tree::Broken => "nothing".to_string(),
    }
}

/// `text` in quotes, without control characters, cut when it is long.
pub fn shown(text: &str) -> String {
    let start: String = text.chars().take(SHOWN).collect();
    let rest = if start.len() < text.len() { "..." } else { "" };
    format!("{start:?}{rest}")
}

/// `one of "a", "b"`.
pub fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("{name:?}")).collect();
    match &names[..] {
        [name] => name.clone(),
        _ => format!("one of {}", names.join(", ")),
    }
}

/// `"a" or "b"`.
pub fn either<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("{name:?}")).collect();
    names.join(" or ")
}

/// `; did you mean "slide"?`, or nothing.
pub fn did_you_mean<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(found, known).map_or(String::new(), |name| format!("; did you mean {name:?}?"))
}
