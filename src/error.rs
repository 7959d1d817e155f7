//! The one error type of the library: its kind tells the reader what to do next, and the program what to exit with.
//!
//! A message says what is wrong, where, and what would be right. Broken invariants are not errors: they end the process.

use std::fmt;

/// The environment variable that tells a process that a supervisor has started it.
pub const CHILD: &str = "METERFLOW_CHILD";

/// What the reader should do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// Call the program differently.
    Usage,
    /// Change the configuration; [`Error::problems`] has everything that is wrong with it.
    Config,
    /// Look at what is read: it is not there, not readable, or not what all processes see.
    Input,
    /// Look at what is written: no space, no permission, somebody else's file.
    Output,
    /// Look at the other processes or the network.
    Cluster,
    /// Decide something: what is there is not what the job expects, and starting again cannot change that.
    Refused,
    /// Report it: the program is wrong.
    Internal,
}

/// Why something could not be done.
#[derive(Clone, PartialEq, Debug)]
pub struct Error {
    /// What the reader should do.
    pub kind: ErrorKind,
    /// Where: a file, an address, a flag; may be empty.
    pub place: String,
    /// What was found there.
    pub message: String,
    /// What would help; may be empty.
    pub hint: String,
    /// All that is wrong with a configuration; empty in other kinds.
    pub problems: Vec<ConfigProblem>,
}

/// Where a setting was given. Later variants win over earlier ones, and problems are sorted by this order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// Nowhere: a default, or something that is missing.
    Nowhere,
    /// In a file; line and column count from 1, columns in characters.
    File {
        /// As it was named on the command line.
        name: String,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// In an environment variable.
    Variable(String),
    /// In a `--set`.
    Flag,
}

/// Something wrong with, or worth knowing about, a setting.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConfigProblem {
    /// Where it was given.
    pub place: Place,
    /// Its full key, such as `windows.slide`; empty when there is none (a syntax error).
    pub key: String,
    /// What was found and what would be right.
    pub message: String,
}

impl Error {
    /// An error of some kind at `place` (may be empty).
    pub fn new(kind: ErrorKind, place: impl Into<String>, message: impl fmt::Display) -> Error {
        let message = message.to_string();
        Error { kind, place: place.into(), message, hint: String::new(), problems: Vec::new() }
    }

    /// Wrong use of the command line.
    pub fn usage(message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Usage, "", message)
    }

    /// A configuration that cannot run.
    pub fn config(problems: Vec<ConfigProblem>) -> Error {
        let message = match problems.len() {
            1 => "1 problem".to_string(),
            count => format!("{count} problems"),
        };
        Error { problems, ..Error::new(ErrorKind::Config, "configuration", message) }
    }

    /// Input that is not there or cannot be read.
    pub fn input(place: impl Into<String>, message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Input, place, message)
    }

    /// Output that cannot be written.
    pub fn output(place: impl Into<String>, message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Output, place, message)
    }

    /// A process that is missing, or that disagrees.
    pub fn cluster(place: impl Into<String>, message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Cluster, place, message)
    }

    /// Something that only a person can settle: stored state that does not fit, input that is not what was read.
    pub fn refused(place: impl Into<String>, message: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Refused, place, message)
    }

    /// A mistake of the program itself.
    pub fn internal(message: impl fmt::Display) -> Error {
        let hint = "this is a mistake in meterflow: please report it with the input that led here";
        Error::new(ErrorKind::Internal, "", message).with_hint(hint)
    }

    /// The same with what would help.
    pub fn with_hint(self, hint: impl Into<String>) -> Error {
        Error { hint: hint.into(), ..self }
    }

    /// What the program exits with: 2 for wrong usage or configuration, 1 for anything else. A process that a supervisor
    /// has started says 3 instead of 1 when it must not be started again.
    pub fn exit_code(&self) -> u8 {
        self.code(std::env::var_os(CHILD).is_some())
    }

    fn code(&self, is_child: bool) -> u8 {
        match self.kind {
            ErrorKind::Usage | ErrorKind::Config => 2,
            ErrorKind::Refused if is_child => 3,
            ErrorKind::Input | ErrorKind::Output | ErrorKind::Cluster | ErrorKind::Refused | ErrorKind::Internal => 1,
        }
    }
}

impl std::error::Error for Error {}

/// Ends the process with a message: what a worker does when going on could only give wrong results. The committed
/// ticks stand; the other processes notice.
#[allow(clippy::disallowed_methods, reason = "a worker has no caller to return an error to")]
pub fn fatal(error: &Error) -> ! {
    eprintln!("meterflow: {error}");
    std::process::exit(i32::from(error.exit_code()))
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        for problem in &self.problems {
            writeln!(out, "{problem}")?;
        }
        if !self.place.is_empty() {
            write!(out, "{}: ", self.place)?;
        }
        write!(out, "{}", self.message)?;
        if !self.hint.is_empty() {
            write!(out, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl Place {
    /// Whether this was said by a later layer than `other` (file, then environment, then `--set`).
    pub fn overrides(&self, other: &Place) -> bool {
        self.layer() > other.layer()
    }

    fn layer(&self) -> u8 {
        match self {
            Place::Nowhere => 0,
            Place::File { .. } => 1,
            Place::Variable(_) => 2,
            Place::Flag => 3,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Place::Nowhere => Ok(()),
            Place::File { name, line, column } => write!(out, "{name}:{line}:{column}"),
            Place::Variable(name) => write!(out, "{name}"),
            Place::Flag => write!(out, "--set"),
        }
    }
}

impl fmt::Display for ConfigProblem {
    /// `meterflow.toml:12:1: windows.slde: unknown key; did you mean "slide"?`
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        if self.place != Place::Nowhere {
            write!(out, "{}: ", self.place)?;
        }
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        write!(out, "{}", self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_where_and_what_to_do() {
        let place = Place::File { name: "m.toml".into(), line: 12, column: 1 };
        let slide = ConfigProblem { place, key: "windows.slde".into(), message: "unknown key".into() };
        let syntax = ConfigProblem { place: Place::Nowhere, key: String::new(), message: "empty".into() };
        let table = [
            (Error::usage("no such dataflow"), 2, "no such dataflow"),
            (Error::input("a.jsonl", "no such file").with_hint("see --help"), 1, "a.jsonl: no such file; see --help"),
            (Error::output("out/x", "disk full"), 1, "out/x: disk full"),
            (Error::cluster("h:2101", "refused"), 1, "h:2101: refused"),
            (Error::config(vec![slide.clone()]), 2, "m.toml:12:1: windows.slde: unknown key\nconfiguration: 1 problem"),
            (
                Error::config(vec![syntax, slide]),
                2,
                "empty\nm.toml:12:1: windows.slde: unknown key\nconfiguration: 2 problems",
            ),
        ];
        for (error, code, text) in table {
            assert_eq!((error.exit_code(), error.to_string()), (code, text.to_string()));
        }
        assert!(Error::internal("x").to_string().contains("report it"));
        assert_eq!(Error::internal("x").exit_code(), 1);
    }

    #[test]
    fn a_supervisor_learns_what_must_not_be_started_again() {
        let codes = |error: Error| [error.code(false), error.code(true)];
        assert_eq!(codes(Error::refused("state", "another job's")), [1, 3]);
        assert_eq!(codes(Error::cluster("h:2101", "refused")), [1, 1]);
        assert_eq!(codes(Error::usage("-p")), [2, 2]);
    }

    #[test]
    fn later_layers_override() {
        let file = Place::File { name: "m.toml".into(), line: 9, column: 9 };
        let layers = [Place::Nowhere, file, Place::Variable("A".into()), Place::Flag];
        for (index, later) in layers.iter().enumerate() {
            for (other, earlier) in layers.iter().enumerate() {
                assert_eq!(later.overrides(earlier), index > other);
            }
        }
    }
}
