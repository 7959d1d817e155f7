//! Thousands of short lives of a job on a disk that loses what is not durable: whatever happens, what it shows is right.
//!
//! Each history follows from a seed. Incarnations start one after the other; in each, one call to the disk fails, kills the
//! process (with none, some or all of its effect), or takes so long that the next incarnation has started before it is done,
//! and then goes on as if nothing had happened. Between them the power may fail. Then, and at the end:
//!
//! * the outputs show a prefix of what a run without faults shows, and after recovery exactly what is committed;
//! * a tick that was committed stays committed, and no two incarnations commit the same;
//! * state that comes back is that of the records so far, and ticks that are made again are the same;
//! * a snapshot that was published can be read, and so can the one before it.
//!
//! The same histories with the order broken on purpose do not pass. `METERFLOW_HISTORIES=20000` runs so many;
//! `METERFLOW_HISTORY=17` runs the one with that seed and
//! tells every call to the disk.

mod disk;
mod live;
mod toy;

use crate::checkpoint::simulation::disk::{Disk, Effect, Fate, Host, MEANWHILE, lock};
use crate::checkpoint::simulation::live::{End, Live, check_outputs};
use crate::checkpoint::{Manifest, Recovered};
use crate::model::commit::Commit;
use crate::model::control::{Take, Tick};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Numbers from a seed (SplitMix64; Steele, Lea, Flood, 2014).
pub struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// From 0 to `limit - 1`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// One time in `times`.
    pub fn chance(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// The order in which things are written, and ways to get it wrong.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Order {
    Right,
    ShowBeforeCommit,
    CommitBeforeSpool,
    ManifestBeforeSegments,
    ManifestBeforeFiles,
    TrimBeforeManifest,
    NoFencing,
}

/// What is known of a history from outside.
pub struct World {
    order: Order,
    records: u64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Who has committed a tick, and what it took.
    committed: BTreeMap<Tick, (u64, Vec<Take>)>,
    /// Ticks with a published snapshot.
    snapshots: BTreeMap<Tick, u64>,
    wrong: Option<String>,
    figures: Figures,
}

/// What happened in histories.
#[derive(Clone, Copy, Default, Debug)]
pub struct Figures {
    incarnations: u64,
    losses: u64,
    sleeps: u64,
    snapshots: u64,
    restored: u64,
    replayed: u64,
}

impl World {
    /// A commit has returned.
    fn commit(&self, commits: &[Commit], incarnation: u64) {
        let mut known = lock(&self.known);
        for commit in commits {
            let own = (incarnation, commit.takes.clone());
            let before = known.committed.insert(commit.tick, own.clone());
            if before.as_ref().is_some_and(|before| *before != own) {
                known.wrong = Some(format!("tick {} was committed twice: {before:?} and {own:?}", commit.tick));
            }
        }
    }

    /// A snapshot has been published.
    fn published(&self, manifest: &Manifest) {
        let mut known = lock(&self.known);
        known.snapshots.insert(manifest.tick, manifest.incarnation);
        known.figures.snapshots += 1;
    }

    fn snapshots(&self) -> usize {
        lock(&self.known).snapshots.len()
    }

    fn check_recovered(&self, found: &Recovered) -> Result<(), String> {
        let mut known = lock(&self.known);
        known.figures.restored += u64::from(found.snapshot.is_some());
        known.figures.replayed += found.commits.len() as u64;
        if !found.passed_over.is_empty() {
            return Err(format!("passed over: {:?}", found.passed_over));
        }
        let newest = known.snapshots.last_key_value().map(|(tick, _)| *tick);
        if newest > found.snapshot.as_ref().map(|snapshot| snapshot.manifest.tick) {
            return Err(format!("the snapshot after tick {newest:?} is gone"));
        }
        if let Some(last) = known.committed.last_key_value().map(|(tick, _)| *tick)
            && found.last_tick() < Some(last)
        {
            return Err(format!("tick {last} was committed, recovered up to {:?}", found.last_tick()));
        }
        for (commit, maker) in found.commits.iter().zip(&found.makers) {
            let own = (*maker, commit.takes.clone());
            if known.committed.get(&commit.tick).is_some_and(|known| *known != own) {
                return Err(format!("tick {} came back as another", commit.tick));
            }
        }
        Ok(())
    }

    fn wrong(&self, wrong: String) {
        lock(&self.known).wrong.get_or_insert(wrong);
    }

    fn is_wrong(&self) -> bool {
        lock(&self.known).wrong.is_some()
    }
}

thread_local! {
    /// Incarnations that have started while an older one slept, and go on after that has ended.
    static STARTED: RefCell<Vec<Live>> = const { RefCell::new(Vec::new()) };
}

/// Most incarnations of a history; the last ones meet no faults.
const MOST: u64 = 24;

/// Runs a history to its end; what happened, or what went wrong.
fn history(seed: u64, order: Order) -> Result<Figures, String> {
    let mut draws = Draws(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let records = 10 + draws.below(50);
    let world = Arc::new(World { order, records, known: Mutex::default() });
    let disk = Arc::new(Mutex::new(Disk::default()));
    STARTED.with(|started| started.borrow_mut().clear());
    let mut complete = false;
    for _ in 0..4 * MOST {
        complete = live(&world, &disk, &mut draws, 0);
        if world.is_wrong() || complete {
            break;
        }
        if draws.chance(2) {
            lose_power(&world, &disk, &mut draws);
        }
    }
    MEANWHILE.with(|act| act.borrow_mut().take());
    if !complete {
        world.wrong(format!("still not complete after {MOST} incarnations"));
    }
    let result = check_outputs(&lock(&disk), records);
    let mut known = lock(&world.known);
    match known.wrong.take().map_or(result, Err) {
        Ok(()) => Ok(known.figures),
        Err(wrong) => Err(format!("history {seed}: {wrong}")),
    }
}

fn lose_power(world: &World, disk: &Mutex<Disk>, draws: &mut Draws) {
    lock(&world.known).figures.losses += 1;
    STARTED.with(|started| started.borrow_mut().clear());
    lock(disk).lose_power(draws);
}

/// Runs one incarnation until it ends, or for some steps if it began while another slept; whether the job is complete.
fn live(world: &Arc<World>, disk: &Arc<Mutex<Disk>>, draws: &mut Draws, depth: u32) -> bool {
    let started = if depth == 0 { STARTED.with(|started| started.borrow_mut().pop()) } else { None };
    let begun = match started {
        Some(live) => Ok(live),
        None => {
            let host = Host::new(disk, fate(world, disk, draws, depth));
            let draws = Draws(draws.next());
            Live::start(world, disk, host, draws)
        }
    };
    let steps = if depth == 0 { u64::MAX } else { draws.below(30) };
    let ended = begun.and_then(|mut live| {
        for _ in 0..steps {
            if !live.step()? {
                return Ok(true);
            }
            check_prefix(world, disk);
        }
        STARTED.with(|started| started.borrow_mut().push(live));
        Ok(false)
    });
    check_prefix(world, disk);
    match ended {
        Ok(complete) => complete,
        Err(End::Gone) => false,
        Err(End::Wrong(wrong)) => {
            world.wrong(wrong);
            false
        }
    }
}

/// What the next incarnation meets. Prepares what happens while it sleeps.
fn fate(world: &Arc<World>, disk: &Arc<Mutex<Disk>>, draws: &mut Draws, depth: u32) -> Option<(u64, Fate)> {
    let incarnations = {
        let figures = &mut lock(&world.known).figures;
        figures.incarnations += 1;
        figures.incarnations
    };
    if incarnations > MOST {
        return None;
    }
    let limit = [20, 60, 200][draws.below(3) as usize];
    let at = 1 + draws.below(limit);
    let effect = match draws.below(4) {
        0 => Effect::None,
        1 => Effect::All,
        _ => Effect::Part(draws.below(300)),
    };
    let fate = match draws.below(3) {
        0 => Fate::Fails { effect },
        1 => Fate::Dies { effect },
        _ if depth < 2 => {
            let (world, disk, mut draws_then) = (world.clone(), disk.clone(), Draws(draws.next()));
            let act = move || {
                lock(&world.known).figures.sleeps += 1;
                live(&world, &disk, &mut draws_then, depth + 1);
                if draws_then.chance(8) {
                    lose_power(&world, &disk, &mut draws_then);
                }
            };
            MEANWHILE.with(|meanwhile| *meanwhile.borrow_mut() = Some(Box::new(act)));
            Fate::Sleeps { after: draws.chance(2) }
        }
        _ => return None,
    };
    Some((at, fate))
}

/// What is shown is a prefix of the reference, until a loss of power has torn it.
fn check_prefix(world: &World, disk: &Mutex<Disk>) {
    if lock(&world.known).figures.losses == 0 {
        let shown = lock(disk).output(toy::ONE);
        if !toy::reference(world.records).as_bytes().starts_with(&shown) {
            world.wrong(format!("what is shown is no prefix: {:?}", String::from_utf8_lossy(&shown)));
        }
    }
}

/// Histories to run: `METERFLOW_HISTORIES`, or few.
fn histories(few: u64) -> std::ops::Range<u64> {
    if let Some(seed) = number("METERFLOW_HISTORY") {
        return seed..seed + 1;
    }
    0..number("METERFLOW_HISTORIES").unwrap_or(few)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn nothing_is_lost_doubled_or_wrong_in_any_history() {
    let mut sum = Figures::default();
    let histories = histories(300);
    for seed in histories.clone() {
        let figures = history(seed, Order::Right).unwrap_or_else(|wrong| panic!("{wrong}"));
        sum.incarnations += figures.incarnations;
        sum.losses += figures.losses;
        sum.sleeps += figures.sleeps;
        sum.snapshots += figures.snapshots;
        sum.restored += figures.restored;
        sum.replayed += figures.replayed;
    }
    println!("{} histories: {sum:?}", histories.end - histories.start);
    // That much happens at least; else the test would say nothing.
    let count = histories.end - histories.start;
    if count > 100 {
        let enough = [sum.incarnations, sum.losses, sum.sleeps, sum.snapshots, sum.restored, sum.replayed];
        assert!(enough.iter().all(|figure| *figure > count / 2), "{sum:?}");
    }
}

#[test]
fn an_order_that_is_wrong_is_found() {
    let wrong = [
        Order::ShowBeforeCommit,
        Order::CommitBeforeSpool,
        Order::ManifestBeforeSegments,
        Order::ManifestBeforeFiles,
        Order::TrimBeforeManifest,
        Order::NoFencing,
    ];
    for order in wrong {
        let found = (0..1000).find_map(|seed| history(seed, order).err());
        println!("{order:?}: {}", found.as_deref().unwrap_or("not found"));
        assert!(found.is_some(), "{order:?} passes");
    }
}
