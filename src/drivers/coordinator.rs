//! The coordinator cuts ticks and closes them. It acts on worker 0 of the job; elsewhere it only forwards nothing.
//!
//! It hears from the sources through a loop in the dataflow. A tick is cut when the reports that its plan depends on are
//! in and the committer is not too far behind; it is closed, with the watermark, when all its takes have been reported.
//! Ticks that an earlier run has committed are cut as they were recorded.

use crate::drivers::health::{StopRequest, Vitals};
use crate::drivers::plan::{LAG, Planner};
use crate::drivers::resume::Resume;
use crate::drivers::snapshot::{Freezer, Snapshots};
use crate::drivers::standing::Standing;
use crate::drivers::{Output, To, output, to_all};
use crate::error::{Error, fatal};
use crate::event_time::Watermark;
use crate::model::commit::Commit;
use crate::model::control::{Close, Counts, Cut, Opened, SourceReport, Taken, Tick};
use crate::state::{Scope as StateScope, restored};
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::Activator;

/// What the coordinator must know of the job.
#[derive(Clone)]
pub struct Plan {
    /// Processes of the job.
    pub processes: u32,
    /// For each partition of the job, its source's out_of_orderness, ms.
    pub out_of_orderness: Vec<i64>,
    /// Bytes of a block.
    pub block: u64,
    /// Bytes of a tick.
    pub tick_bytes: u64,
    /// Ticks that may be cut and not yet committed.
    pub in_flight: u64,
    /// The time of the run, ms.
    pub now: i64,
    /// Save and restore where the job stands after every tick, which must change nothing.
    pub check_state: bool,
    /// What an earlier run has left.
    pub resume: Arc<Resume>,
    /// Asks for an end before the input has ended.
    pub stop: StopRequest,
}

/// How far committer and publishers have come: shared with the coordinator, which lives on the same worker.
#[derive(Clone, Default)]
pub struct Committed {
    first: Rc<Cell<Tick>>,
    before: Rc<Cell<Tick>>,
    published: Rc<Cell<Option<Tick>>>,
    wake: Rc<Cell<Option<Activator>>>,
    vitals: Arc<Vitals>,
}

impl Committed {
    /// Nothing is committed yet; the watchdog sees how far it comes.
    pub fn new(vitals: Arc<Vitals>) -> Committed {
        Committed { vitals, ..Committed::default() }
    }

    /// The first tick to come is `first`: those before it have been committed and published.
    pub fn begin(&self, first: Tick) {
        self.first.set(first);
        self.before.set(first);
        self.vitals.cut.store(first, Relaxed);
        self.vitals.committed.store(first, Relaxed);
    }

    /// All ticks before `tick` are committed.
    pub fn advance(&self, tick: Tick) {
        self.before.set(tick);
        self.vitals.committed.store(tick, Relaxed);
        self.wake();
    }

    /// All publishers have come to `tick`.
    pub fn publish(&self, tick: Tick) {
        if self.published.replace(Some(tick)) != Some(tick) {
            self.wake();
        }
    }

    /// The first tick that must not be cut yet, when `in_flight` may be on their way. Publishers that are slower than the
    /// committer may be as far again behind it.
    fn limit(&self, in_flight: u64) -> Tick {
        (self.before.get() + in_flight).min(self.publishers_limit(in_flight))
    }

    fn publishers_limit(&self, in_flight: u64) -> Tick {
        let published = self.published.get().map(|published| published.max(self.first.get()));
        published.map_or(Tick::MAX, |published| published + 2 * in_flight)
    }

    /// Tells the watchdog what has been cut, and whether there is more that nobody but the committer keeps from being cut.
    fn note(&self, next: Tick, has_more: bool, in_flight: u64) {
        self.vitals.cut.store(next, Relaxed);
        self.vitals.input_waits.store(has_more && next < self.publishers_limit(in_flight), Relaxed);
    }

    fn wake(&self) {
        if let Some(activator) = self.wake.take() {
            activator.activate();
            self.wake.set(Some(activator));
        }
    }
}

/// The streams of the coordinator.
pub struct Coordinator<'scope> {
    /// What to read, for every worker.
    pub cuts: Stream<'scope, Tick, Vec<To<Cut>>>,
    /// The ends of ticks, for every worker.
    pub closes: Stream<'scope, Tick, Vec<To<Close>>>,
    /// The same as records that lack what steps report, for the committer; on worker 0.
    pub records: Stream<'scope, Tick, Vec<Commit>>,
}

/// Builds the coordinator; `control` is the loop from the sources.
pub fn coordinator<'scope>(
    scope: Scope<'scope, Tick>,
    control: Stream<'scope, Tick, Vec<SourceReport>>,
    plan: Plan,
    committed: Committed,
    snapshots: &Snapshots,
) -> Result<Coordinator<'scope>, Error> {
    let mut builder = OperatorBuilder::new("coordinator".to_owned(), scope);
    let (cuts_out, cuts) = builder.new_output();
    let (closes_out, closes) = builder.new_output();
    let (records_out, records) = builder.new_output();
    // What the loop brings is answered under capabilities held since the cut, never under its own.
    let mut input = builder.new_input_connection(control, Exchange::new(|_: &SourceReport| 0), []);
    let (mut cuts_out, mut closes_out): (Output<To<Cut>>, Output<To<Close>>) = (output(cuts_out), output(closes_out));
    let mut records_out: Output<Commit> = output(records_out);
    let address = builder.operator_info().address;
    committed.wake.set(Some(scope.activator_for(address.clone())));
    let peers = scope.peers();
    let in_flight = plan.in_flight;
    let mut state = (scope.index() == 0).then(|| {
        let wake = scope.worker().sync_activator_for(address.to_vec());
        plan.stop.on_raise(move || {
            // Fails only when the job has ended by itself.
            let _ = wake.activate();
        });
        State::new(plan, snapshots.clone())
    });
    builder.build(move |capabilities| {
        let held = <[Capability<Tick>; 3]>::try_from(capabilities).expect("one capability for each output");
        let mut held = state.is_some().then_some(held);
        move |_frontiers| {
            let Some(state) = &mut state else {
                held = None;
                return;
            };
            input.for_each(|_, reports| reports.drain(..).for_each(|report| state.hear(report)));
            let Some([may_cut, may_close, may_record]) = &mut held else { return };
            // A tick without anything to read is complete as soon as it is cut, so both may have more to say.
            loop {
                let (closes, cuts) = (state.closes(), state.cuts(committed.limit(in_flight)));
                if closes.is_empty() && cuts.is_empty() {
                    break;
                }
                for (close, record) in closes {
                    for held in [&mut *may_close, &mut *may_record] {
                        held.downgrade(&close.tick);
                    }
                    closes_out.activate().session(may_close).give_iterator(to_all(peers, &close).into_iter());
                    records_out.activate().session(may_record).give(record);
                    for held in [&mut *may_close, &mut *may_record] {
                        held.downgrade(&(close.tick + 1));
                    }
                }
                for cut in cuts {
                    may_cut.downgrade(&cut.tick);
                    cuts_out.activate().session(may_cut).give_iterator(to_all(peers, &cut).into_iter());
                    may_cut.downgrade(&(cut.tick + 1));
                }
            }
            committed.note(state.next, !state.exhausted, in_flight);
            if state.is_done() {
                held = None;
            }
        }
    });
    Ok(Coordinator { cuts, closes, records })
}

/// A tick between its cut and its close.
struct Open {
    cut: Cut,
    missing: usize,
    taken: Vec<Taken>,
}

/// The decisions. Pure.
struct State {
    plan: Plan,
    snapshots: Snapshots,
    freezer: Freezer,
    opened: Vec<Option<Opened>>,
    ready: Option<Ready>,
    lists: Vec<Option<u64>>,
    /// Next tick to cut.
    next: Tick,
    /// Ticks that are cut and not closed.
    open: VecDeque<Open>,
    /// Nothing more will be cut.
    exhausted: bool,
}

/// What is known once all partitions are open.
struct Ready {
    planner: Planner,
    watermark: Watermark,
    standing: Standing,
    /// Reports that the planner has not learned, from tick `learned` on.
    known: VecDeque<Vec<Taken>>,
    learned: Tick,
}

impl State {
    fn new(plan: Plan, snapshots: Snapshots) -> State {
        let count = plan.out_of_orderness.len();
        let empty = Standing::empty(count);
        let freezer = snapshots.enter(TICKS, plan.resume.standing.as_ref().unwrap_or(&empty), scopes(count), true);
        State {
            opened: vec![None; count],
            lists: vec![None; plan.processes as usize],
            ready: None,
            next: plan.resume.first,
            open: VecDeque::new(),
            exhausted: false,
            snapshots,
            freezer,
            plan,
        }
    }

    /// Next tick to close.
    fn closing(&self) -> Tick {
        self.next - self.open.len() as u64
    }

    fn hear(&mut self, report: SourceReport) {
        match report {
            SourceReport::Opened { process, list, partitions } => {
                self.lists[process as usize] = Some(list);
                for opened in partitions {
                    self.opened[opened.partition as usize] = Some(opened);
                }
                if let Some(lists) = self.lists.iter().copied().collect::<Option<Vec<u64>>>() {
                    self.begin(&lists);
                }
            }
            SourceReport::Taken(taken) => {
                let closing = self.closing();
                let open = &mut self.open[(taken.tick - closing) as usize];
                open.missing -= 1;
                open.taken.push(taken);
            }
        }
    }

    fn begin(&mut self, lists: &[u64]) {
        if let Some(other) = lists.iter().position(|list| *list != lists[0]) {
            fatal(
                &Error::cluster(format!("process {other}"), "does not see the same input files as process 0")
                    .with_hint("every host must see the same list of files, with the same sizes, under the configured path"),
            );
        }
        let opened: Option<Vec<Opened>> = self.opened.iter().copied().collect();
        let opened = opened.expect("processes that see the same list share it out completely");
        let standing = self.plan.resume.standing.clone().unwrap_or_else(|| Standing::new(&opened));
        let mut planner = Planner::new(self.plan.block, self.plan.tick_bytes, &opened);
        planner.resume(&standing);
        let watermark = self.watermark(&standing);
        let (known, learned) = (standing.recent.clone(), standing.next - standing.recent.len() as u64);
        self.ready = Some(Ready { planner, watermark, standing, known, learned });
    }

    /// The watermark of a job that stands there.
    fn watermark(&self, standing: &Standing) -> Watermark {
        let begins = standing.learned.iter().zip(&self.plan.out_of_orderness);
        let begins = begins.map(|(learned, allowed)| learned.begin.map(|begin| begin.saturating_sub(*allowed)));
        let mut watermark = Watermark::new(begins, standing.watermark);
        for empty in self.opened.iter().flatten().filter(|opened| opened.size == Some(0)) {
            watermark.advance(empty.partition, None, true);
        }
        for taken in standing.newest().into_iter().flatten() {
            reach(&mut watermark, &taken, &self.plan.out_of_orderness);
        }
        watermark
    }

    /// Ticks before `limit` that can be cut now.
    fn cuts(&mut self, limit: Tick) -> Vec<Cut> {
        let mut cuts = Vec::new();
        let closing = self.closing();
        let resume = &self.plan.resume;
        let Some(Ready { planner, watermark, known, learned, .. }) = &mut self.ready else { return cuts };
        while !self.exhausted && self.next < limit && closing + LAG > self.next {
            // A plan knows what came up to LAG ticks ago, however much more is known already.
            while *learned + LAG <= self.next {
                known.pop_front().into_iter().flatten().for_each(|taken| planner.learn(&taken));
                *learned += 1;
            }
            let recorded = resume.recorded(self.next);
            // What has been recorded is made again whatever happens: it has been shown.
            if recorded.is_none() && (resume.only_replay || self.plan.stop.is_raised()) {
                self.exhausted = closing == self.next;
                break;
            }
            let (takes, now) = match recorded {
                Some(commit) => {
                    planner.repeat(&commit.takes);
                    (commit.takes.clone(), commit.now)
                }
                None if watermark.is_ended() => (Vec::new(), self.plan.now),
                None => (planner.plan(), self.plan.now),
            };
            // After the end of its input a run has a last tick to come, in which what is left is brought to its end. If that
            // was committed, but not everything shown, there is another one.
            let lacks_last = watermark.is_ended() && closing == self.next;
            if recorded.is_none() && takes.is_empty() && self.next > 0 && !lacks_last {
                // What is still under way may have to say that it goes on: only a partition of unknown size does.
                self.exhausted = closing == self.next;
                break;
            }
            let cut = Cut { tick: self.next, now, takes };
            self.open.push_back(Open { missing: cut.takes.len(), taken: Vec::new(), cut: cut.clone() });
            cuts.push(cut);
            self.next += 1;
        }
        cuts
    }

    /// Ticks that are complete now.
    fn closes(&mut self) -> Vec<(Close, Commit)> {
        let mut closes = Vec::new();
        while self.open.front().is_some_and(|open| open.missing == 0)
            && let Some(Open { cut, mut taken, .. }) = self.open.pop_front()
            && let Some(ready) = &mut self.ready
        {
            for taken in &taken {
                reach(&mut ready.watermark, taken, &self.plan.out_of_orderness);
            }
            taken.sort_unstable_by_key(|taken| taken.partition);
            ready.known.push_back(taken.clone());
            let (tick, watermark) = (cut.tick, ready.watermark.close());
            ready.standing.close(taken.clone(), watermark);
            let is_newest = self.open.is_empty();
            let resume = &self.plan.resume;
            let replayed = resume.recorded(tick).is_some();
            let last = resume.recorded(tick).map_or(ready.watermark.is_ended() && is_newest, |recorded| recorded.last);
            self.exhausted |= last && !replayed;
            let stops = !replayed && !last && self.plan.stop.is_raised();
            let final_one = is_newest && resume.recorded(tick + 1).is_none() && (resume.only_replay || stops);
            self.exhausted |= final_one;
            let snapshot = self.snapshots.may_freeze(replayed, final_one);
            if snapshot {
                self.freezer.save_all(tick, &mut ready.standing);
            }
            let close = Close { tick, watermark, last, snapshot };
            let Cut { now, takes, .. } = cut;
            let (shown, cuts, counts) = (Vec::new(), Vec::new(), Counts::default());
            closes.push((close, Commit { tick, now, takes, taken, watermark, last, snapshot, shown, cuts, counts }));
            if self.plan.check_state {
                self.check();
            }
        }
        closes
    }

    /// Goes on with where the job stands as it comes back from its saved state.
    fn check(&mut self) {
        let Some(ready) = &self.ready else { return };
        let count = self.plan.out_of_orderness.len();
        let standing = restored(&ready.standing, Standing::empty(count), &scopes(count));
        let watermark = self.watermark(&standing);
        if let Some(ready) = &mut self.ready {
            (ready.standing, ready.watermark) = (standing, watermark);
        }
    }

    fn is_done(&self) -> bool {
        self.exhausted && self.open.is_empty()
    }
}

/// The name under which it is stored where a job stands.
pub const TICKS: &str = "ticks";

/// What is stored of where a job with so many partitions stands.
pub fn scopes(partitions: usize) -> Vec<StateScope> {
    [StateScope::Global].into_iter().chain((0..partitions as u32).map(StateScope::Partition)).collect()
}

/// Tells the watermark how far a partition has come.
fn reach(watermark: &mut Watermark, taken: &Taken, out_of_orderness: &[i64]) {
    let allowed = out_of_orderness[taken.partition as usize];
    let reached = taken.newest.map(|newest| newest.saturating_sub(allowed));
    watermark.advance(taken.partition, reached, taken.ended);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_time::END_OF_TIME;

    fn plan() -> Plan {
        Plan {
            processes: 1,
            out_of_orderness: vec![10, 10],
            block: 100,
            tick_bytes: 200,
            in_flight: 8,
            now: 0,
            check_state: true,
            resume: Arc::default(),
            stop: StopRequest::default(),
        }
    }

    fn begun(sizes: [Option<u64>; 2]) -> State {
        begun_with(plan(), sizes)
    }

    fn begun_with(plan: Plan, sizes: [Option<u64>; 2]) -> State {
        let mut state = State::new(plan, Snapshots::default());
        let partitions = (0..2).map(|i| Opened { partition: i, size: sizes[i as usize], begin: Some(1000) }).collect();
        state.hear(SourceReport::Opened { process: 0, list: 7, partitions });
        state
    }

    fn answer(state: &mut State, cut: &Cut, blocks: u64) {
        for take in &cut.takes {
            let newest = Some(1000 + 100 * take.end as i64);
            let (tick, partition) = (cut.tick, take.partition);
            let ended = take.end >= blocks;
            let taken = Taken { tick, partition, end_offset: take.end * 100, blocks: take.end, newest, run: (0, 0), ended };
            state.hear(SourceReport::Taken(taken));
        }
    }

    /// Runs to the end, answering `delay` ticks late; the cuts and what became of them.
    fn run(state: &mut State, blocks: u64, delay: usize) -> (Vec<Cut>, Vec<Commit>) {
        let (mut cuts, mut closes, mut unanswered) = (Vec::new(), Vec::new(), VecDeque::new());
        let limit = state.next + 8;
        for _ in 0..100 {
            let new = state.cuts(limit + closes.len() as Tick);
            unanswered.extend(new.iter().cloned());
            cuts.extend(new);
            while unanswered.len() > delay || (state.cuts(limit + closes.len() as Tick).is_empty() && !unanswered.is_empty())
            {
                answer(state, &unanswered.pop_front().unwrap(), blocks);
            }
            closes.extend(state.closes().into_iter().map(|(_, commit)| commit));
        }
        assert!(state.is_done());
        (cuts, closes)
    }

    /// What is left of a run of which `commits` are known, when state was saved after the first `saved` of them.
    fn left(commits: &[Commit], saved: usize, committed: usize, only_replay: bool) -> Resume {
        let opened = [0, 1].map(|partition| Opened { partition, size: Some(0), begin: Some(1000) });
        let mut standing = Standing::new(&opened);
        commits[..saved].iter().for_each(|commit| standing.close(commit.taken.clone(), commit.watermark));
        Resume {
            first: saved as Tick,
            standing: (saved > 0).then_some(standing),
            commits: commits[saved..committed].to_vec(),
            only_replay,
        }
    }

    #[test]
    fn a_run_goes_on_after_any_tick_as_if_it_had_never_ended() {
        let sizes = [Some(1000), Some(1000)];
        let (cuts, commits) = run(&mut begun(sizes), 10, 2);
        assert!(commits.len() > 6);
        for committed in 0..=commits.len() {
            for saved in 0..=committed {
                let resume = Arc::new(left(&commits, saved, committed, false));
                let (mut again_cuts, mut again) = run(&mut begun_with(Plan { resume, ..plan() }, sizes), 10, 1);
                if committed == commits.len() {
                    // Nothing says that everything has been shown: there is another last tick.
                    let last = again.pop().unwrap();
                    assert!(last.last && last.takes.is_empty() && last.watermark == END_OF_TIME);
                    again_cuts.pop();
                }
                assert_eq!((again_cuts, again), (cuts[saved..].to_vec(), commits[saved..].to_vec()), "{saved} {committed}");
            }
        }
    }

    #[test]
    fn a_run_that_only_replays_ends_with_the_recorded_ticks() {
        let sizes = [Some(1000), Some(1000)];
        let (_, commits) = run(&mut begun(sizes), 10, 2);
        let resume = Arc::new(left(&commits, 2, 4, true));
        let again = run(&mut begun_with(Plan { resume, ..plan() }, sizes), 10, 1);
        assert_eq!(again.1, commits[2..4]);
    }

    #[test]
    fn a_stop_ends_after_what_has_been_cut() {
        let mut state = begun([Some(1000), Some(700)]);
        let cut = state.cuts(8);
        state.plan.stop.raise();
        assert!(state.cuts(8).is_empty() && !state.is_done());
        cut.iter().for_each(|cut| answer(&mut state, cut, 10));
        let closes = state.closes();
        assert!(closes.len() == cut.len() && state.is_done());
        assert!(closes.iter().all(|(close, _)| !close.last && close.watermark < END_OF_TIME));
    }

    #[test]
    fn the_same_ticks_however_late_the_reports_come() {
        let (cuts, closes) = run(&mut begun([Some(1000), Some(700)]), 10, 0);
        assert!(closes.last().unwrap().last || closes.last().unwrap().watermark < END_OF_TIME);
        for delay in 1..4 {
            assert_eq!(run(&mut begun([Some(1000), Some(700)]), 10, delay).0, cuts);
        }
    }

    #[test]
    fn the_watermark_follows_the_slower_and_ends_with_both() {
        let mut state = begun([Some(300), Some(300)]);
        let (_, closes) = run(&mut state, 3, 0);
        let watermarks: Vec<i64> = closes.iter().map(|close| close.watermark).collect();
        assert!(watermarks.is_sorted() && watermarks[0] >= 990);
        assert_eq!(closes.last().map(|close| (close.watermark, close.last)), Some((END_OF_TIME, true)));
        assert_eq!(closes.iter().filter(|close| close.last).count(), 1);
    }

    #[test]
    fn empty_files_are_one_empty_tick() {
        let (cuts, closes) = run(&mut begun([Some(0), Some(0)]), 0, 0);
        assert_eq!((cuts.len(), closes.len()), (1, 1));
        assert_eq!((closes[0].watermark, closes[0].last), (END_OF_TIME, true));
    }

    #[test]
    fn a_partition_of_unknown_size_ends_the_job_when_it_says_so() {
        let mut state = begun([None, Some(0)]);
        let (_, closes) = run(&mut state, 5, 2);
        assert_eq!(closes.last().map(|close| (close.watermark, close.last)), Some((END_OF_TIME, true)));
    }
}
