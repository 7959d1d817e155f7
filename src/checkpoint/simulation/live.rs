//! One incarnation of the toy job: it starts as the engine does, and writes in the order that [`Keeper`] describes.

use crate::checkpoint::files::{show, sync_all};
use crate::checkpoint::names::Name;
use crate::checkpoint::simulation::disk::{Disk, Host, Seen, lock};
use crate::checkpoint::simulation::toy::{Fold, GROUPS, ONE, keeper_of, owner, reference, shown};
use crate::checkpoint::simulation::{Draws, Order, World};
use crate::checkpoint::testing::{job, step};
use crate::checkpoint::trim::trim;
use crate::checkpoint::{
    Keeper, Recovered, Segment, SegmentWriter, Shelf, Snapshot, Spool, TickLog, Volume, complete_files, next_incarnation,
    recover,
};
use crate::error::{Error, ErrorKind};
use crate::model::commit::{Commit, LinesHash, Shown};
use crate::model::control::{Counts, Take, Tick};
use crate::state::{Reader, Scope, Writer};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// Why an incarnation ended.
#[derive(Debug)]
pub enum End {
    /// It died, or a newer one has taken over.
    Gone,
    /// Something that must not happen.
    Wrong(String),
}

/// State that is saved for a snapshot after a tick.
struct Frozen {
    tick: Tick,
    saved: Vec<(Scope, Vec<u8>)>,
    unchanged: u64,
}

/// Lines of a committed tick that are not shown yet: file, offset, bytes.
type Lines = (String, u64, Vec<u8>);

/// An incarnation that is running.
pub struct Live {
    world: Arc<World>,
    host: Arc<Host>,
    volume: Arc<dyn Volume>,
    files: Seen,
    draws: Draws,
    incarnation: u64,
    writers: u16,
    keeper: Keeper,
    shelf: Shelf,
    spools: Vec<Spool>,
    fold: Fold,
    changed: [bool; GROUPS as usize],
    next: Tick,
    /// The last tick that was recovered, while nothing has been done since.
    recovered: Option<Tick>,
    to_show: VecDeque<(Tick, Vec<Lines>)>,
    frozen: Option<Frozen>,
    ends: BTreeMap<String, u64>,
}

impl Live {
    /// Starts the next incarnation.
    pub fn start(world: &Arc<World>, disk: &Arc<Mutex<Disk>>, host: Host, mut draws: Draws) -> Result<Live, End> {
        let host = Arc::new(host);
        let files = Seen(host.clone());
        let volume: Arc<dyn Volume> = Arc::new(files.clone());
        let or_end = |error: Error| end(&host, &error);
        let found = recover(&volume, None).map_err(or_end)?;
        let incarnation = next_incarnation(&*volume).map_err(or_end)?;
        let log = TickLog::begin(volume.clone(), incarnation, &job(), found.as_ref()).map_err(or_end)?;
        if let Some(found) = &found {
            // Whoever has slept does not know what others have done since.
            let or_wrong = |wrong| if host.has_slept() { End::Gone } else { End::Wrong(wrong) };
            world.check_recovered(found).map_err(or_wrong)?;
            complete_files(&*volume, &files, found).map_err(or_end)?;
            check_outputs(&lock(disk), committed(found)).map_err(or_wrong)?;
            check_snapshots(world, &volume).map_err(or_end)?.map_err(or_wrong)?;
        }
        // Another process of this incarnation sees the same.
        let view = recover(&volume, Some(incarnation)).map_err(or_end)?;
        let commits = |found: &Option<Recovered>| found.as_ref().map_or(Vec::new(), |found| found.commits.clone());
        if commits(&view) != commits(&found) {
            return Err(End::Wrong("processes of an incarnation see different ticks".to_owned()));
        }
        let writers = 1 + draws.below(3) as u16;
        let (fold, changed) = restore(found.as_ref(), writers)
            .map_err(|why| if host.is_struck() || host.has_slept() { End::Gone } else { End::Wrong(why) })?;
        let spool = |process| Spool::create(volume.clone(), &job().uid, incarnation, u32::from(process));
        let mut log = log;
        log.unfenced = world.order == Order::NoFencing;
        Ok(Live {
            spools: (0..writers).map(spool).collect::<Result<_, _>>().map_err(or_end)?,
            keeper: Keeper::new(log, found.as_ref()),
            shelf: Shelf::new(volume.clone(), incarnation, job(), found.as_ref(), []),
            recovered: found.as_ref().and_then(Recovered::last_tick),
            next: found.as_ref().and_then(Recovered::last_tick).map_or(0, |tick| tick + 1),
            ends: found
                .map_or(BTreeMap::new(), |found| found.ends().into_iter().map(|(path, (_, end))| (path, end)).collect()),
            to_show: VecDeque::new(),
            frozen: None,
            world: world.clone(),
            host,
            volume,
            files,
            draws,
            incarnation,
            writers,
            fold,
            changed,
        })
    }

    /// Does something; whether there is more to do.
    pub fn step(&mut self) -> Result<bool, End> {
        let done = self.work();
        done.map_err(|error| end(&self.host, &error))
    }

    fn work(&mut self) -> Result<bool, Error> {
        let is_read = self.fold.next >= self.world.records;
        match self.draws.below(4) {
            0 | 1 if !is_read && self.to_show.len() < 4 => self.tick()?,
            2 if self.frozen.is_some() => self.snapshot()?,
            // A snapshot of what was recovered.
            2 if self.recovered.is_some() && self.draws.chance(3) => {
                let tick = self.recovered.take().unwrap_or_default();
                self.freeze(tick);
            }
            _ => self.show()?,
        }
        if !is_read || !self.to_show.is_empty() || self.frozen.is_some() {
            return Ok(true);
        }
        let paths: Vec<String> = self.ends.keys().cloned().collect();
        sync_all(&self.files, paths.iter().map(String::as_str))?;
        self.keeper.complete()?;
        Ok(false)
    }

    /// Makes some ticks and commits them together.
    fn tick(&mut self) -> Result<(), Error> {
        let (mut commits, mut lines) = (Vec::new(), Vec::new());
        for _ in 0..1 + self.draws.below(2) {
            if self.fold.next < self.world.records {
                let (commit, shown) = self.make();
                commits.push(commit);
                lines.push(shown);
            }
        }
        if self.world.order == Order::ShowBeforeCommit {
            lines.iter().flatten().try_for_each(|(path, offset, bytes)| show(&self.files, path, *offset, bytes))?;
        }
        for (commit, lines) in commits.iter().zip(&lines) {
            for (path, offset, bytes) in lines {
                let (first, second) = bytes.split_at(bytes.len() / 2);
                let spool = &mut self.spools[keeper_of(path, self.writers) as usize];
                spool.append(commit.tick, path, *offset, &[first, second])?;
            }
        }
        if self.world.order != Order::CommitBeforeSpool {
            self.spools.iter_mut().try_for_each(Spool::sync)?;
        }
        self.keeper.commit(&commits)?;
        self.world.commit(&commits, self.incarnation);
        if self.world.order == Order::CommitBeforeSpool {
            self.spools.iter_mut().try_for_each(Spool::sync)?;
        }
        self.to_show.extend(commits.iter().map(|commit| commit.tick).zip(lines));
        Ok(())
    }

    /// Makes a tick: which records it has is for this incarnation to decide.
    fn make(&mut self) -> (Commit, Vec<Lines>) {
        let tick = self.next;
        self.next += 1;
        self.recovered = None;
        let first = self.fold.next;
        let count = (1 + self.draws.below(4)).min(self.world.records - first);
        let made = self.fold.tick(count, self.writers, &mut self.changed);
        let snapshot = self.frozen.is_none() && self.draws.chance(3);
        let mut lines = Vec::new();
        let mut all = Vec::new();
        for (path, bytes) in made {
            let end = self.ends.entry(path.clone()).or_default();
            all.push(shown(&path, &bytes, *end));
            lines.push((path, *end, bytes));
            *end = all.last().map_or(0, |shown| shown.end);
        }
        if snapshot {
            self.freeze(tick);
        }
        (record(tick, first, self.fold.next, snapshot, all), lines)
    }

    /// Saves what has changed, as it is now.
    fn freeze(&mut self, tick: Tick) {
        let mut saved = vec![(Scope::Global, bytes(&[self.fold.next]))];
        let mut unchanged = 0;
        for group in 0..GROUPS {
            match std::mem::take(&mut self.changed[group as usize]) {
                true => saved.push((Scope::Group(group), bytes(&self.fold.groups[&group]))),
                false => unchanged += 1,
            }
        }
        self.frozen = Some(Frozen { tick, saved, unchanged });
    }

    fn show(&mut self) -> Result<(), Error> {
        let Some((_, lines)) = self.to_show.pop_front() else { return Ok(()) };
        for (path, offset, bytes) in lines {
            show(&self.files, &path, offset, &bytes)?;
        }
        Ok(())
    }

    /// Makes what was saved durable, and publishes the snapshot, once its tick is shown.
    fn snapshot(&mut self) -> Result<(), Error> {
        let is_waiting = |frozen: &Frozen| self.to_show.iter().any(|(tick, _)| *tick <= frozen.tick);
        let Some(saved) = self.frozen.take_if(|frozen| !is_waiting(frozen)) else { return self.show() };
        let mut writers = Vec::new();
        let mut segments = Vec::new();
        for process in 0..self.writers {
            let number = u32::from(process);
            let mut writer = SegmentWriter::create(&self.volume, &job().uid, saved.tick, self.incarnation, number)?;
            let mut segment = Segment { file: writer.name().to_owned(), places: Vec::new(), unchanged: saved.unchanged };
            for (scope, bytes) in &saved.saved {
                let of = if let Scope::Group(group) = scope { owner(*group, self.writers) } else { 0 };
                if of == process {
                    segment.places.push(writer.add(0, *scope, bytes)?);
                }
            }
            segments.push(segment);
            writers.push(writer);
        }
        if self.world.order != Order::ManifestBeforeSegments {
            writers.iter_mut().try_for_each(SegmentWriter::sync)?;
        }
        let paths: Vec<String> = self.ends.keys().cloned().collect();
        if self.world.order != Order::ManifestBeforeFiles {
            sync_all(&self.files, paths.iter().map(String::as_str))?;
        }
        self.spools.iter_mut().try_for_each(Spool::rotate)?;
        let frozen = self.keeper.frozen(saved.tick).ok_or_else(|| Error::internal("the tick is not committed"))?;
        if self.world.order == Order::TrimBeforeManifest {
            let draft = self.shelf.draft(frozen.clone(), &segments, vec![step("fold")], 0);
            if let Some(newest) = self.shelf.newest() {
                trim(&*self.volume, self.incarnation, newest, &draft)?;
            }
        }
        let manifest = self.shelf.publish(frozen, &segments, vec![step("fold")], 0)?.clone();
        self.world.published(&manifest);
        if self.world.order == Order::ManifestBeforeSegments {
            writers.iter_mut().try_for_each(SegmentWriter::sync)?;
        }
        Ok(())
    }
}

/// What an error means: only a process that was struck, that is replaced or that has slept may end with one.
fn end(host: &Host, error: &Error) -> End {
    match host.is_struck() || host.has_slept() || error.kind == ErrorKind::Cluster {
        true => End::Gone,
        // Somebody else was faster with this number.
        false if error.message.contains("begin the tick log") && error.message.contains("exists") => End::Gone,
        false => End::Wrong(error.to_string()),
    }
}

fn record(tick: Tick, first: u64, end: u64, snapshot: bool, shown: Vec<Shown>) -> Commit {
    let counts = Counts { windows: end - first, ..Counts::default() };
    let takes = vec![Take { partition: 0, first, end }];
    let (now, watermark) = (tick as i64, end as i64);
    Commit { tick, now, takes, taken: Vec::new(), watermark, last: false, snapshot, shown, cuts: Vec::new(), counts }
}

fn bytes(numbers: &[u64]) -> Vec<u8> {
    let mut out = Writer::default();
    numbers.iter().for_each(|number| out.value(*number));
    out.into_bytes()
}

/// How many records the committed ticks have taken.
fn committed(found: &Recovered) -> u64 {
    found.counts().windows
}

/// Loads the snapshot and makes the recorded ticks again; which groups have changed since the snapshot.
fn restore(found: Option<&Recovered>, writers: u16) -> Result<(Fold, [bool; GROUPS as usize]), String> {
    let mut fold = Fold::default();
    let mut changed = [false; GROUPS as usize];
    let Some(found) = found else { return Ok((fold, changed)) };
    if let Some(snapshot) = &found.snapshot {
        let load = |scope| snapshot.bytes("fold", scope).map_err(|error| error.to_string());
        for group in 0..GROUPS {
            if let Some(bytes) = load(Scope::Group(group))? {
                let mut from = Reader::new(&bytes);
                let mut number = || from.value::<u64>().map_err(|error| error.to_string());
                fold.groups.insert(group, [number()?, number()?]);
            }
        }
        let next = load(Scope::Global)?.ok_or("no global state")?;
        fold.next = Reader::new(&next).value().map_err(|error| error.to_string())?;
        if fold != Fold::after(snapshot.manifest.counts.windows) {
            return Err(format!("tick {}: restored {fold:?}", snapshot.manifest.tick));
        }
    }
    for commit in &found.commits {
        let take = commit.takes[0];
        let made = fold.tick(take.end - take.first, writers, &mut changed);
        let again: Vec<Shown> = made.iter().map(|(path, bytes)| shown(path, bytes, 0)).collect();
        if take.end != fold.next || by_sink(&again) != by_sink(&commit.shown) {
            return Err(format!("tick {} made again is another: {again:?} instead of {:?}", commit.tick, commit.shown));
        }
    }
    match fold == Fold::after(committed(found)) {
        true => Ok((fold, changed)),
        false => Err(format!("after the replay: {fold:?}")),
    }
}

fn by_sink(shown: &[Shown]) -> BTreeMap<&str, (u64, u64, LinesHash)> {
    let mut sinks: BTreeMap<&str, (u64, u64, LinesHash)> = BTreeMap::new();
    for shown in shown {
        let (rows, bytes, hash) = sinks.entry(&shown.sink).or_default();
        (*rows, *bytes) = (*rows + shown.rows, *bytes + shown.bytes);
        hash.add(shown.hash);
    }
    sinks
}

/// Whether the outputs show exactly the first records, once in each sink.
pub fn check_outputs(disk: &Disk, records: u64) -> Result<(), String> {
    let expected = reference(records);
    let one = disk.output(ONE);
    if one != expected.as_bytes() {
        return Err(format!(
            "after {records} records {ONE} shows {:?} instead of {expected:?}",
            String::from_utf8_lossy(&one)
        ));
    }
    let parts = disk.outputs().into_iter().filter(|path| path != ONE).flat_map(|path| disk.output(&path)).collect();
    let parts = String::from_utf8(parts).map_err(|error| error.to_string())?;
    let (mut got, mut wanted): (Vec<&str>, Vec<&str>) = (parts.lines().collect(), expected.lines().collect());
    got.sort_unstable();
    wanted.sort_unstable();
    match got == wanted {
        true => Ok(()),
        false => Err(format!("the parts show {got:?} instead of {wanted:?}")),
    }
}

/// Whether as many snapshots can be read as are to be kept.
fn check_snapshots(world: &World, volume: &Arc<dyn Volume>) -> Result<Result<(), String>, Error> {
    let names = volume.list().map_err(|error| Error::output("", error))?;
    let mut good = 0;
    for name in names {
        if let Some(Name::Manifest { tick, incarnation }) = Name::parse(&name)
            && let Ok(snapshot) = Snapshot::open(volume, tick, incarnation)?
            && snapshot.verify()?.is_ok()
        {
            good += 1;
        }
    }
    let wanted = world.snapshots().min(2);
    Ok(if good < wanted { Err(format!("{good} snapshots of {wanted} can be read")) } else { Ok(()) })
}
