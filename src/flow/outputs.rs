//! Sinks: what is asked for is encoded where it is made and shown when its tick is committed.

use crate::connectors::lines::{FileLines, LineSink, StdoutLines, path_of};
use crate::drivers::Events;
use crate::drivers::publish::{Publisher, publish_at, publish_here};
use crate::error::{Error, fatal};
use crate::flow::Flow;
use crate::operators::encode::{Encode, Lines};
use crate::operators::show::Show;

/// Makes a writer of lines; called on every worker.
pub type MakeLines<B> = Box<dyn Fn() -> Lines<B>>;

/// Results that a sink can show as lines.
pub trait Sinkable<'scope> {
    /// What its events hold.
    type Item: Clone + 'static;

    /// The events.
    fn events(&self) -> Events<'scope, Self::Item>;

    /// The writer of its lines in results of this dataflow.
    fn lines(&self, dataflow: &str) -> MakeLines<Self::Item>;
}

/// The worker that writes what goes to a single place.
const OWNER: usize = 0;

impl<'scope> Flow<'scope> {
    /// Shows results in the sink `name`, if it is configured.
    pub fn sink<S: Sinkable<'scope>>(&mut self, name: &str, results: &S) -> Result<(), Error> {
        let Some(sink) = self.settings().sinks.get(name) else { return Ok(()) };
        let path = sink.values.text("path").map(str::to_owned);
        let worker = self.scope.index();
        let make = results.lines(&self.job.dataflow);
        let sink_name = name.to_owned();
        let encode = move || Encode::new(&sink_name, worker as u32, make());
        let events = self.step(&format!("sink {name}"), results.events(), encode)?;
        let is_folder = path.as_ref().is_some_and(|path| path.ends_with('/'));
        let publisher: Option<Box<dyn Publisher<Vec<u8>>>> = match (is_folder || worker == OWNER, path) {
            (false, _) => None,
            (true, Some(path)) => Some(Box::new(Show(file(&path, worker)))),
            (true, None) => Some(Box::new(Show(Box::new(StdoutLines)))),
        };
        let name = name.to_owned();
        self.publish.push(Box::new(move |committed| match publisher {
            Some(publisher) if is_folder => publish_here(&name, events, committed, publisher),
            publisher => publish_at(&name, OWNER, events, committed, publisher),
        }));
        Ok(())
    }
}

fn file(path: &str, worker: usize) -> Box<dyn LineSink> {
    match FileLines::create(&path_of(path, worker)) {
        Ok(file) => Box::new(file),
        Err(error) => fatal(&Error::output(path, error).with_hint("can the folder be made and written?")),
    }
}

/// Results of a step of your own, with a function that appends their lines and returns how many.
pub struct Custom<'scope, B> {
    events: Events<'scope, B>,
    lines: fn(&B, &mut Vec<u8>) -> u64,
}

impl<'scope, B> Custom<'scope, B> {
    /// Shows what `events` hold, as `lines` writes it.
    pub fn new(events: Events<'scope, B>, lines: fn(&B, &mut Vec<u8>) -> u64) -> Custom<'scope, B> {
        Custom { events, lines }
    }
}

impl<'scope, B: Clone + 'static> Sinkable<'scope> for Custom<'scope, B> {
    type Item = B;

    fn events(&self) -> Events<'scope, B> {
        self.events.clone()
    }

    fn lines(&self, _: &str) -> MakeLines<B> {
        let lines = self.lines;
        Box::new(move || Box::new(lines))
    }
}
