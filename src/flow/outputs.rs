//! Sinks: what is asked for is encoded where it is made and shown when its tick is committed.

use crate::connectors::lines::{FileLines, StdoutLines, path_of};
use crate::drivers::Events;
use crate::drivers::keep::{Kept, Lines, keep_lines};
use crate::drivers::publish::{Publisher, Skip, publish_at, publish_here};
use crate::error::Error;
use crate::flow::{Flow, JobView};
use crate::model::job::Delivery;
use crate::operators::encode::{Encode, HashOf, LinesOf};
use crate::operators::show::{Show, ShowAt};
use std::path::PathBuf;

/// Makes a writer of lines; called on every worker.
pub type MakeLines<B> = Box<dyn Fn() -> LinesOf<B>>;

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
        let hash: Option<HashOf> = self.job.kept.as_ref().map(|kept| kept.hash);
        let encode = move || Encode::new(&sink_name, worker as u32, make(), hash);
        let lines = self.step(&format!("sink {name}"), results.events(), encode)?;
        let each = path.as_ref().is_some_and(|path| path.ends_with('/'));
        let is_mine = each || worker == OWNER;
        let path = path.map(|path| path_of(&path, worker));
        let kept = self.job.kept.clone().zip(path.clone()).filter(|_| self.job.delivery == Delivery::ExactlyOnce);
        let (job, file) = (self.job.clone(), path.clone().filter(|_| is_mine));
        let publisher = move || is_mine.then(|| publisher(&job, path)).transpose();
        let name = name.to_owned();
        let Some((kept, path)) = kept else {
            let skip = file.map_or_else(Skip::default, |file| Skip::nothing(file, &self.job.snapshots));
            self.publish.push(Box::new(move |ticks| {
                let publisher = publisher()?;
                Ok(match each {
                    true => publish_here(&name, lines, ticks.due, publisher, skip),
                    false => publish_at(&name, OWNER, lines, ticks.due, publisher, skip),
                })
            }));
            return Ok(());
        };
        let path = path.display().to_string();
        let (end, live_from) = (kept.end(&path), self.job.plan.resume.live_from());
        let keep = is_mine.then(|| Kept { sink: name.clone(), path, end, live_from, spooler: kept.spooler.clone() });
        let (lines, reports) = keep_lines(&name, (!each).then_some(OWNER), lines, keep, &self.job.snapshots);
        self.reports.push(reports);
        let skip = Skip { before: live_from, snapshots: self.job.snapshots.clone() };
        self.publish.push(Box::new(move |ticks| Ok(publish_here(&name, lines, ticks.due, publisher()?, skip))));
        Ok(())
    }
}

/// What appends lines to a file, or to standard output. A file that nothing has been committed to is made anew.
fn publisher(job: &JobView, path: Option<PathBuf>) -> Result<Box<dyn Publisher<Lines>>, Error> {
    let Some(path) = path else { return Ok(Box::new(Show(Box::new(StdoutLines)))) };
    let name = path.display().to_string();
    let unusable = |error| Error::output(&name, error).with_hint("can the folder be made and written?");
    let resume = &job.plan.resume;
    let goes_on = resume.first > 0 || !resume.commits.is_empty();
    let file = match (&job.kept, job.delivery) {
        (Some(kept), Delivery::ExactlyOnce) => {
            let show = ShowAt::new(name.clone(), kept.end(&name), job.health.alive.clone());
            return Ok(Box::new(show.map_err(unusable)?));
        }
        // No lengths are committed.
        (Some(_), Delivery::AtLeastOnce) if goes_on => FileLines::resume(&path),
        _ => FileLines::create(&path),
    };
    let file = file.map_err(unusable)?;
    Ok(Box::new(Show(Box::new(file))))
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
