//! Snapshots: every step saves what it remembers as it is after one tick, and goes on when that has been handed over.
//!
//! The coordinator decides at the close of a tick that it is the one. A step freezes when it sees that close: it saves its key
//! groups, a few milliseconds at a time, and events behind the close wait meanwhile. The bytes go to threads of the process
//! ([`Vault`]). When all that a worker has saved is durable and shown, it tells worker 0; when all have, the snapshot
//! counts. Commits never wait for any of this.

use crate::drivers::commit::SharedManifest;
use crate::drivers::{Output, To, output};
use crate::error::Error;
use crate::model::commit::StepRecord;
use crate::model::control::{Close, Tick};
use crate::model::meter::{GROUPS, owner_of};
use crate::state::{Reader, Scope, State, Writer, fits};
use crate::time::Stopwatch;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::SyncActivator;

/// State that one step of one worker has saved.
#[derive(Debug)]
pub struct Piece {
    /// The tick after which.
    pub tick: Tick,
    /// The worker.
    pub worker: usize,
    /// The step.
    pub step: Arc<str>,
    /// What it belongs to.
    pub scope: Scope,
    /// The bytes; none: as they were saved last.
    pub bytes: Option<Vec<u8>>,
}

/// Where the saved state of a worker stands; what it means is known to whoever made it.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// The worker.
    pub worker: usize,
    /// In the words of the [`Vault`].
    pub index: Vec<u8>,
}

/// Where a process puts saved state, and where it finds that of an earlier run. Shared by its workers.
pub trait Vault: Send + Sync {
    /// Whether another piece can be taken now.
    fn has_room(&self) -> bool;

    /// Takes a piece.
    fn put(&self, piece: Piece);

    /// A worker has saved all; makes it durable, and the lines in these files too. `wake` is told when that has been done.
    fn end(&self, tick: Tick, worker: usize, files: Vec<PathBuf>, wake: SyncActivator);

    /// What came of [`Vault::end`], once.
    fn ended(&self, worker: usize) -> Option<Saved>;

    /// What a step had saved of `scope` in the snapshot that the job goes on from.
    fn load(&self, step: &str, scope: Scope) -> Result<Option<Vec<u8>>, Error>;

    /// The steps of that snapshot.
    fn steps(&self) -> &[StepRecord];

    /// Whether what has been loaded is to be put back at once, where it should come out as it is stored. Nothing runs then.
    fn wants_back(&self) -> bool {
        false
    }
}

/// How long a step may save before others have their turn, s.
const SLICE: f64 = 0.002;

/// The snapshots of a worker: shared by its steps. Without a vault nothing is ever saved.
#[derive(Clone, Default)]
pub struct Snapshots(Option<Rc<Shared>>);

struct Shared {
    vault: Arc<dyn Vault>,
    worker: usize,
    workers: usize,
    /// Steps that the dataflow may lack although their state is stored.
    dropped: BTreeSet<String>,
    steps: RefCell<Vec<StepRecord>>,
    /// Files of the publishers that take part.
    files: RefCell<Vec<PathBuf>>,
    under_way: Cell<UnderWay>,
    wake: RefCell<Option<SyncActivator>>,
    /// Seconds between snapshots; when the last one began; whether one is under way in the job. On worker 0.
    interval: f64,
    since: Cell<Option<Stopwatch>>,
    in_flight: Cell<bool>,
}

/// How far this worker is with the snapshot after a tick.
#[derive(Clone, Copy, Default)]
struct UnderWay {
    tick: Option<Tick>,
    /// Steps that have not saved everything, and publishers that have not shown the tick.
    saving: usize,
    showing: usize,
}

impl Snapshots {
    /// Snapshots into `vault`, every `interval` seconds.
    pub fn new(vault: Arc<dyn Vault>, worker: usize, workers: usize, interval: f64, dropped: BTreeSet<String>) -> Snapshots {
        Snapshots(Some(Rc::new(Shared {
            vault,
            worker,
            workers,
            dropped,
            steps: RefCell::default(),
            files: RefCell::default(),
            under_way: Cell::default(),
            wake: RefCell::default(),
            interval,
            since: Cell::new(None),
            in_flight: Cell::new(false),
        })))
    }

    /// Fills the (empty) state of a step with what is stored of these scopes. Fails when what is stored is of another kind,
    /// version or shape. Whether what is stored can stand for state that does not change from now on.
    pub(super) fn restore(&self, step: &str, state: &mut dyn State, scopes: &[Scope]) -> Result<bool, Error> {
        let Some(shared) = &self.0 else { return Ok(true) };
        let stored = shared.vault.steps().iter().find(|stored| stored.step == step);
        let Some(stored) = stored else { return Ok(true) };
        let now = record(step, state);
        refuse_if_other(stored, &now)?;
        for scope in scopes {
            if let Some(bytes) = shared.vault.load(step, *scope)? {
                let mut reader = Reader::new(&bytes);
                let loaded = state.load(*scope, &mut reader).and_then(|()| reader.finish());
                loaded.map_err(|error| Error::refused(format!("stored state of step `{step}`, {scope:?}"), error))?;
            }
        }
        Ok(stored.shape == now.shape)
    }

    /// From now on these scopes of a step are saved.
    pub(super) fn enter(&self, step: &str, state: &dyn State, scopes: Vec<Scope>, as_stored: bool) -> Freezer {
        let Some(shared) = &self.0 else { return Freezer::default() };
        let mut steps = shared.steps.borrow_mut();
        steps.push(record(step, state));
        if shared.vault.wants_back() && as_stored {
            shared.put_back(step, state, &scopes);
        }
        Freezer { shared: Some(shared.clone()), step: Some(step.into()), scopes, frozen: None, as_stored }
    }

    /// The steps that have entered.
    pub fn steps(&self) -> Vec<StepRecord> {
        self.0.as_ref().map_or_else(Vec::new, |shared| shared.steps.borrow().clone())
    }

    /// Refuses a dataflow that lacks a step whose state is stored. Worker 0 has all steps that there are.
    pub fn all_entered(&self) -> Result<(), Error> {
        let Some(shared) = self.0.as_ref().filter(|shared| shared.worker == 0) else { return Ok(()) };
        let steps = shared.steps.borrow();
        let is_here = |stored: &StepRecord| steps.iter().any(|step| step.step == stored.step);
        match shared.vault.steps().iter().find(|stored| !is_here(stored) && !shared.dropped.contains(&stored.step)) {
            Some(gone) => Err(refused(&gone.step, "its state is stored, but the dataflow has no such step any more")),
            None => Ok(()),
        }
    }

    /// What a step that works by meter has on this worker: what is global first, then the key groups that it owns.
    pub(super) fn scopes(&self) -> Vec<Scope> {
        let Some(shared) = &self.0 else { return Vec::new() };
        let mine = (0..GROUPS).filter(|group| owner_of(*group, shared.workers) == shared.worker);
        [Scope::Global].into_iter().chain(mine.map(|group| Scope::Group(group as u16))).collect()
    }

    /// A publisher of this worker takes part, with the file that it appends to.
    pub(super) fn publisher(&self, file: PathBuf) {
        if let Some(shared) = &self.0 {
            shared.files.borrow_mut().push(file);
        }
    }

    /// A publisher that takes part has shown the tick after which everything was frozen.
    pub(super) fn shown(&self, tick: Tick) {
        if let Some(shared) = &self.0 {
            shared.progress(tick, |under_way| under_way.showing -= 1);
        }
    }

    /// Whether everything is to be frozen after the tick that is being closed. Worker 0 decides it for all.
    pub(super) fn may_freeze(&self, is_replayed: bool, is_final: bool) -> bool {
        let Some(shared) = &self.0 else { return false };
        let since = shared.since.get().unwrap_or_else(Stopwatch::start);
        shared.since.set(Some(since));
        let due = is_final || (!is_replayed && since.seconds() >= shared.interval);
        if !due || shared.in_flight.replace(due) {
            return false;
        }
        shared.since.set(Some(Stopwatch::start()));
        true
    }
}

impl Shared {
    /// Saves these scopes for nothing but a comparison.
    fn put_back(&self, step: &str, state: &dyn State, scopes: &[Scope]) {
        let step: Arc<str> = step.into();
        for scope in scopes {
            let mut out = Writer::default();
            state.save(*scope, &mut out);
            let bytes = Some(out.into_bytes());
            self.vault.put(Piece { tick: 0, worker: self.worker, step: step.clone(), scope: *scope, bytes });
        }
    }

    /// Notes progress with the snapshot after `tick`, which may begin with this.
    fn progress(&self, tick: Tick, note: impl FnOnce(&mut UnderWay)) {
        let mut under_way = self.under_way.get();
        if under_way.tick != Some(tick) {
            let (saving, showing) = (self.steps.borrow().len(), self.files.borrow().len());
            under_way = UnderWay { tick: Some(tick), saving, showing };
        }
        note(&mut under_way);
        self.under_way.set(under_way);
        if under_way.saving == 0
            && under_way.showing == 0
            && let Some(wake) = &*self.wake.borrow()
        {
            // Fails only when this worker has ended.
            let _ = wake.activate();
        }
    }
}

fn record(step: &str, state: &dyn State) -> StepRecord {
    let (kind, version) = state.kind();
    StepRecord { step: step.to_owned(), kind: kind.to_owned(), version, shape: state.shape() }
}

fn refuse_if_other(stored: &StepRecord, now: &StepRecord) -> Result<(), Error> {
    if (&stored.kind, stored.version) != (&now.kind, now.version) {
        let (was, is) = (format!("{} {}", stored.kind, stored.version), format!("{} {}", now.kind, now.version));
        return Err(refused(&now.step, format!("its stored state is of kind `{was}`, this program has `{is}`")));
    }
    if !fits(&stored.shape, &now.shape) {
        let message = format!("its stored state was made with `{}`, the settings say `{}`", stored.shape, now.shape);
        return Err(refused(&now.step, message));
    }
    Ok(())
}

fn refused(step: &str, message: impl std::fmt::Display) -> Error {
    let hint =
        format!("set it back, take another state folder, or forget what the step remembers with --drop-state '{step}'");
    Error::refused(format!("step `{step}`"), message).with_hint(hint)
}

/// What a step of a worker needs to save its state.
#[derive(Default)]
pub(super) struct Freezer {
    shared: Option<Rc<Shared>>,
    step: Option<Arc<str>>,
    scopes: Vec<Scope>,
    /// The tick that is being saved, and how many scopes have been.
    frozen: Option<(Tick, usize)>,
    /// What has not changed stands as it is in an older snapshot.
    as_stored: bool,
}

impl Freezer {
    /// Whether saving is under way: nothing may change meanwhile.
    pub(super) fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Begins to save the state after `tick`.
    pub(super) fn freeze(&mut self, tick: Tick) {
        if self.shared.is_some() {
            self.frozen = Some((tick, 0));
        }
    }

    /// Saves as much as may be at a time; whether all has been saved.
    pub(super) fn save(&mut self, state: &mut dyn State) -> bool {
        let watch = Stopwatch::start();
        self.save_while(state, |vault| vault.has_room() && watch.seconds() < SLICE)
    }

    /// Saves the state after `tick` at once: to be used for little.
    pub(super) fn save_all(&mut self, tick: Tick, state: &mut dyn State) {
        self.freeze(tick);
        self.save_while(state, |_| true);
    }

    fn save_while(&mut self, state: &mut dyn State, may_go_on: impl Fn(&dyn Vault) -> bool) -> bool {
        let (Some(shared), Some(step), Some((tick, done))) = (&self.shared, &self.step, &mut self.frozen) else {
            return true;
        };
        while let Some(scope) = self.scopes.get(*done).copied() {
            if !may_go_on(&*shared.vault) {
                return false;
            }
            let bytes = save(state, scope, self.as_stored);
            shared.vault.put(Piece { tick: *tick, worker: shared.worker, step: step.clone(), scope, bytes });
            *done += 1;
        }
        let tick = *tick;
        (self.frozen, self.as_stored) = (None, true);
        shared.progress(tick, |under_way| under_way.saving -= 1);
        true
    }
}

/// The bytes of a scope; none when they have not changed since they were saved last (`as_stored`: as this program would
/// save them).
fn save(state: &mut dyn State, scope: Scope, as_stored: bool) -> Option<Vec<u8>> {
    if let Scope::Group(group) = scope {
        if as_stored && !state.is_changed(group) {
            return None;
        }
        state.mark_saved(group);
    }
    let mut out = Writer::default();
    state.save(scope, &mut out);
    Some(out.into_bytes())
}

/// What a worker says when all it has of a snapshot is durable.
type SavedBy = (Tick, Saved);

/// Builds the step that waits, on each worker, until all that it has of a snapshot is durable and shown, and tells worker 0,
/// which hands all to the manifest.
pub fn collect<'scope>(closes: Stream<'scope, Tick, Vec<To<Close>>>, snapshots: &Snapshots, manifest: SharedManifest) {
    let Some(shared) = snapshots.0.clone() else { return };
    let saved = wait(closes, shared.clone());
    let scope = saved.scope();
    let mut builder = OperatorBuilder::new("snapshots".to_owned(), scope);
    let mut input = builder.new_input(saved, Exchange::new(|_: &SavedBy| 0));
    manifest.borrow_mut().wake_with(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
    builder.build(move |_capabilities| {
        let mut all: Vec<Saved> = Vec::new();
        move |_frontiers| {
            let mut manifest = manifest.borrow_mut();
            input.for_each(|_, messages| {
                for (tick, saved) in messages.drain(..) {
                    all.push(saved);
                    if all.len() == shared.workers {
                        all.sort_by_key(|saved| saved.worker);
                        manifest.snapshot(tick, std::mem::take(&mut all), shared.steps.borrow().clone());
                    }
                }
            });
            if manifest.has_snapshot() {
                shared.in_flight.set(false);
            }
        }
    });
}

fn wait<'scope>(closes: Stream<'scope, Tick, Vec<To<Close>>>, shared: Rc<Shared>) -> Stream<'scope, Tick, Vec<SavedBy>> {
    let scope = closes.scope();
    let mut builder = OperatorBuilder::new("saved".to_owned(), scope);
    let mut closes = builder.new_input(closes, Exchange::new(|to: &To<Close>| to.0));
    let (out, saved) = builder.new_output();
    let mut out: Output<SavedBy> = output(out);
    let activator = scope.worker().sync_activator_for(builder.operator_info().address.to_vec());
    *shared.wake.borrow_mut() = Some(activator.clone());
    builder.build(move |_capabilities| {
        // Held until everything is durable; and whether the vault has been told that it has everything.
        let mut held: Option<(Capability<Tick>, bool)> = None;
        move |_frontiers| {
            closes.for_each(|capability, closes| {
                for (_, close) in closes.drain(..) {
                    if close.snapshot {
                        held = Some((capability.delayed(&close.tick, 0), false));
                        shared.progress(close.tick, |_| {});
                    }
                }
            });
            let Some((capability, told)) = &mut held else { return };
            let tick = *capability.time();
            let under_way = shared.under_way.get();
            if !*told && under_way.saving == 0 && under_way.showing == 0 {
                shared.vault.end(tick, shared.worker, shared.files.borrow().clone(), activator.clone());
                *told = true;
            }
            if *told && let Some(saved) = shared.vault.ended(shared.worker) {
                out.activate().session(&*capability).give((tick, saved));
                held = None;
            }
        }
    });
    saved
}
