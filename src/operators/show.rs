//! Shows lines in a sink, tick by tick, once they are committed.

use crate::checkpoint::{Disk, files};
use crate::connectors::lines::{FileLines, LineSink};
use crate::drivers::health::Alive;
use crate::drivers::publish::Publisher;
use crate::error::{Error, fatal};
use crate::model::control::{Counts, Tick};
use std::io;
use std::path::Path;

/// Appends to a sink; an error ends the process, since what comes after a gap must not be shown.
pub struct Show(pub Box<dyn LineSink>);

impl Show {
    fn check(&self, result: io::Result<()>) {
        if let Err(error) = result {
            fatal(&Error::output(self.0.describe(), error).with_hint("is there space, and permission to write?"));
        }
    }
}

impl<L: AsRef<[u8]>> Publisher<L> for Show {
    fn publish(&mut self, _: Tick, parts: Vec<L>, _: &mut Counts) {
        for part in parts {
            let result = self.0.append(part.as_ref());
            self.check(result);
        }
    }

    fn finish(&mut self, _: &mut Counts) {
        let result = self.0.finish();
        self.check(result);
    }
}

/// Shows lines in a file at their place: whoever writes them again, writes the same.
pub struct ShowAt {
    path: String,
    end: u64,
    alive: Alive,
}

impl ShowAt {
    /// Goes on behind the first `end` bytes of a file, which is made anew when that is nothing.
    pub fn new(path: String, end: u64, alive: Alive) -> io::Result<ShowAt> {
        if end == 0 {
            drop(FileLines::create(Path::new(&path))?);
        }
        Ok(ShowAt { path, end, alive })
    }
}

impl<L: AsRef<[u8]>> Publisher<L> for ShowAt {
    fn publish(&mut self, _: Tick, parts: Vec<L>, _: &mut Counts) {
        for part in parts.iter().map(AsRef::as_ref).filter(|part| !part.is_empty()) {
            self.alive.or_end();
            files::show(&Disk, &self.path, self.end, part).unwrap_or_else(|error| fatal(&error));
            self.end += part.len() as u64;
        }
    }

    fn finish(&mut self, _: &mut Counts) {
        files::sync_all(&Disk, [self.path.as_str()]).unwrap_or_else(|error| fatal(&error));
    }
}
