//! The tick log: a tick is committed when its record is durable here.
//!
//! An incarnation writes files of its own, `log-<incarnation>-<sequence>`; a new one begins with each snapshot. The first
//! record of each names the file before it and how much of that counts. So the files form a chain that ends in the newest,
//! and what a replaced incarnation appends to its own file afterwards is in no chain.

use crate::checkpoint::chain::{self, Head};
use crate::checkpoint::frame::{self, Kind};
use crate::checkpoint::names::Name;
use crate::checkpoint::problem::{replaced, trouble};
use crate::checkpoint::recover::Recovered;
use crate::checkpoint::volume::{Appender, Volume};
use crate::error::Error;
use crate::fault;
use crate::model::commit::{Commit, JobRecord};
use crate::model::control::Tick;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A place in the tick log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Position {
    /// Incarnation that wrote the file.
    pub incarnation: u64,
    /// Number of the file.
    pub sequence: u32,
    /// Bytes into it.
    pub offset: u64,
}

/// How much of a file of the log counts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// Incarnation that wrote it.
    pub incarnation: u64,
    /// Number of the file.
    pub sequence: u32,
    /// Bytes of it that count; what stands beyond is void.
    pub length: u64,
}

impl Accepted {
    /// The file.
    pub fn name(&self) -> String {
        Name::Log { incarnation: self.incarnation, sequence: self.sequence }.text()
    }
}

/// The first record of a file of the log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LogBegin {
    /// Incarnation that writes it.
    pub incarnation: u64,
    /// Number of the file among those of the incarnation.
    pub sequence: u32,
    /// What came before it; none at the beginning of the job.
    pub previous: Option<Accepted>,
    /// The snapshot that this incarnation goes on from: after which tick, and of which incarnation.
    pub snapshot: Option<(Tick, u64)>,
    /// The job as this incarnation runs it.
    pub job: JobRecord,
}

/// The log of an incarnation, open for appending. Ends with the first error: every later call fails as well.
pub struct TickLog {
    volume: Arc<dyn Volume>,
    begin: LogBegin,
    file: Box<dyn Appender>,
    /// End of the file, all of it durable.
    end: u64,
    failed: Option<Error>,
    /// Tests only: does not look for newer incarnations.
    #[cfg(test)]
    pub(super) unfenced: bool,
}

impl TickLog {
    /// Begins the log of `incarnation`, which nobody else can do from now on. `after` is what [`recover`](super::recover())
    /// found; none in a new state folder.
    ///
    /// Fails when there is an incarnation as new as this, when something was committed since `after` was read, and when
    /// `job` is another one than that in the folder.
    pub fn begin(
        volume: Arc<dyn Volume>,
        incarnation: u64,
        job: &JobRecord,
        after: Option<&Recovered>,
    ) -> Result<TickLog, Error> {
        if let Some(after) = after
            && after.job.uid != job.uid
        {
            let message = format!("holds job {}, this is job {}", after.job.uid, job.uid);
            return Err(Error::refused(volume.place(""), message).with_hint("each job needs a state folder of its own"));
        }
        fault::point("log.begin.before");
        refuse_if_replaced(&*volume, incarnation, (incarnation, 0))?;
        let previous = after.and_then(|after| after.accepted.clone());
        let snapshot = after.and_then(|after| after.snapshot.as_ref());
        let snapshot = snapshot.map(|snapshot| (snapshot.manifest.tick, snapshot.manifest.incarnation));
        let begin = LogBegin { incarnation, sequence: 0, previous, snapshot, job: job.clone() };
        let file = create(&*volume, &begin)?;
        fault::point("log.begin.created");
        // A process that slept before this may make a file anew that others have removed since.
        refuse_if_replaced(&*volume, incarnation, (incarnation, 1))?;
        // Whoever appended to the log before this may have done so until a moment ago: now it would see this file.
        let found = chain::find_head(&*volume, Some(incarnation))?;
        if !is_still(&*volume, found.as_ref(), begin.previous.as_ref())? {
            let message = "the log has grown while this incarnation was starting";
            return Err(Error::cluster(volume.place(""), message).with_hint("start again; is an older run still going on?"));
        }
        if let Some(previous) = &begin.previous {
            // It was read as a process that was killed left it; what this log names must outlast a loss of power.
            let name = previous.name();
            volume.sync(&name).map_err(|error| trouble("make the tick log durable", volume.place(&name), &error))?;
        }
        let log = TickLog::write_begin(volume, begin, file)?;
        fault::point("log.begin.after");
        Ok(log)
    }

    fn write_begin(volume: Arc<dyn Volume>, begin: LogBegin, mut file: Box<dyn Appender>) -> Result<TickLog, Error> {
        let mut bytes = Vec::new();
        frame::push_json(Kind::LogBegin, 0, &begin, &mut bytes)?;
        let name = name_of(&begin);
        file.append(&bytes)
            .and_then(|()| file.sync())
            .map_err(|error| trouble("begin the tick log", volume.place(&name), &error))?;
        refuse_if_replaced(&*volume, begin.incarnation, (begin.incarnation + 1, 0))?;
        Ok(TickLog {
            volume,
            begin,
            file,
            end: bytes.len() as u64,
            failed: None,
            #[cfg(test)]
            unfenced: false,
        })
    }

    /// The incarnation.
    pub fn incarnation(&self) -> u64 {
        self.begin.incarnation
    }

    /// Appends the records of ticks and makes them durable: on return they are committed, and may be shown. An error is
    /// final: the process must end, and whether they are committed shows when the log is read again.
    pub fn append(&mut self, commits: &[Commit]) -> Result<(), Error> {
        if commits.is_empty() {
            return self.check();
        }
        let mut bytes = Vec::new();
        for commit in commits {
            frame::push_json(Kind::Commit, self.end, commit, &mut bytes)?;
        }
        self.write(&bytes)
    }

    /// Records that the run is complete: everything is shown, nothing will follow.
    pub fn complete(&mut self) -> Result<(), Error> {
        fault::point("log.complete.before");
        let mut bytes = Vec::new();
        frame::push(Kind::Complete, self.end, &[b"{}"], &mut bytes);
        self.write(&bytes)?;
        fault::point("log.complete.after");
        Ok(())
    }

    /// The place behind the last record.
    pub fn position(&self) -> Position {
        Position { incarnation: self.begin.incarnation, sequence: self.begin.sequence, offset: self.end }
    }

    /// Goes on in a new file.
    pub fn rotate(&mut self) -> Result<(), Error> {
        self.check()?;
        fault::point("log.rotate.before");
        let Position { incarnation, sequence, offset } = self.position();
        let previous = Some(Accepted { incarnation, sequence, length: offset });
        let begin = LogBegin { sequence: sequence + 1, previous, ..self.begin.clone() };
        let result = create(&*self.volume, &begin).and_then(|file| TickLog::write_begin(self.volume.clone(), begin, file));
        match result {
            Ok(next) => {
                #[cfg(test)]
                let next = TickLog { unfenced: self.unfenced, ..next };
                *self = next;
            }
            Err(error) => return Err(self.failed.insert(error).clone()),
        }
        fault::point("log.rotate.after");
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.check()?;
        let result = self.write_durably(bytes);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    fn write_durably(&mut self, bytes: &[u8]) -> Result<(), Error> {
        fault::point("log.append.before");
        let name = name_of(&self.begin);
        let problem = |error| trouble("write the tick log", self.volume.place(&name), &error);
        self.file.append(bytes).map_err(problem)?;
        fault::point("log.sync.before");
        self.file.sync().map_err(problem)?;
        fault::point("log.sync.after");
        self.end += bytes.len() as u64;
        #[cfg(test)]
        if self.unfenced {
            return Ok(());
        }
        // After the sync: an incarnation that begins later than this look reads what was appended.
        refuse_if_replaced(&*self.volume, self.begin.incarnation, (self.begin.incarnation + 1, 0))
    }
}

fn name_of(begin: &LogBegin) -> String {
    Name::Log { incarnation: begin.incarnation, sequence: begin.sequence }.text()
}

fn create(volume: &dyn Volume, begin: &LogBegin) -> Result<Box<dyn Appender>, Error> {
    let name = name_of(begin);
    volume.create(&name).map_err(|error| trouble("begin the tick log", volume.place(&name), &error))
}

/// Fails when there is a file of the log that is `from` (incarnation, sequence) or newer.
pub(super) fn refuse_if_replaced(volume: &dyn Volume, incarnation: u64, from: (u64, u32)) -> Result<(), Error> {
    let names = volume.list().map_err(|error| trouble("list the state folder", volume.place(""), &error))?;
    let newer = names.iter().filter_map(|name| match Name::parse(name) {
        Some(Name::Log { incarnation, sequence }) if (incarnation, sequence) >= from => Some(incarnation),
        _ => None,
    });
    newer.max().map_or(Ok(()), |newer| Err(replaced(volume.place(""), incarnation, newer)))
}

/// Whether the log still ends where it was said to end.
fn is_still(volume: &dyn Volume, found: Option<&Head>, accepted: Option<&Accepted>) -> Result<bool, Error> {
    match (found, accepted) {
        (None, None) => Ok(true),
        (Some(head), Some(accepted)) if head.name == accepted.name() => {
            Ok(!chain::has_record_at(volume, &head.name, accepted.length)?)
        }
        _ => Ok(false),
    }
}
