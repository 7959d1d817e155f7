//! Shows lines in a sink, tick by tick, once they are committed.

use crate::connectors::lines::LineSink;
use crate::drivers::publish::Publisher;
use crate::error::{Error, fatal};
use crate::model::control::{Counts, Tick};
use std::io;

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
