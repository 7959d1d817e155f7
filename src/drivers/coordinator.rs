//! The coordinator cuts ticks and closes them. It acts on worker 0 of the job; elsewhere it only forwards nothing.
//!
//! It hears from the sources through a loop in the dataflow. A tick is cut when the reports that its plan depends on are
//! in and the committer is not too far behind; it is closed, with the watermark, when all its takes have been reported.

use crate::drivers::plan::{LAG, Planner};
use crate::drivers::{Output, To, output, to_all};
use crate::error::{Error, fatal};
use crate::event_time::Watermark;
use crate::model::control::{Close, Cut, Opened, SourceReport, Taken, Tick};
use crate::state::{Scope as StateScope, restored};
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::Activator;

/// What the coordinator must know of the job.
#[derive(Clone, Debug)]
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
    /// Save and restore the watermark after every tick, which must change nothing.
    pub check_state: bool,
}

/// How far committer and publishers have come: shared with the coordinator, which lives on the same worker.
#[derive(Clone, Default)]
pub struct Committed {
    before: Rc<Cell<Tick>>,
    published: Rc<Cell<Option<Tick>>>,
    wake: Rc<Cell<Option<Activator>>>,
}

impl Committed {
    /// All ticks before `tick` are committed.
    pub fn advance(&self, tick: Tick) {
        self.before.set(tick);
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
        let committed = self.before.get() + in_flight;
        self.published.get().map_or(committed, |published| committed.min(published + 2 * in_flight))
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
}

/// Builds the coordinator; `control` is the loop from the sources.
pub fn coordinator<'scope>(
    scope: Scope<'scope, Tick>,
    control: Stream<'scope, Tick, Vec<SourceReport>>,
    plan: Plan,
    committed: Committed,
) -> Coordinator<'scope> {
    let mut builder = OperatorBuilder::new("coordinator".to_owned(), scope);
    let (cuts_out, cuts) = builder.new_output();
    let (closes_out, closes) = builder.new_output();
    // What the loop brings is answered under capabilities held since the cut, never under its own.
    let mut input = builder.new_input_connection(control, Exchange::new(|_: &SourceReport| 0), []);
    let (mut cuts_out, mut closes_out): (Output<To<Cut>>, Output<To<Close>>) = (output(cuts_out), output(closes_out));
    let activator = scope.activator_for(builder.operator_info().address);
    committed.wake.set(Some(activator));
    let peers = scope.peers();
    let in_flight = plan.in_flight;
    let mut state = (scope.index() == 0).then(|| State::new(plan));
    builder.build(move |capabilities| {
        let [cut, close] = <[Capability<Tick>; 2]>::try_from(capabilities).expect("one capability for each output");
        let mut held = state.is_some().then_some((cut, close));
        move |_frontiers| {
            let Some(state) = &mut state else {
                held = None;
                return;
            };
            input.for_each(|_, reports| reports.drain(..).for_each(|report| state.hear(report)));
            let Some((may_cut, may_close)) = &mut held else { return };
            // A tick without anything to read is complete as soon as it is cut, so both may have more to say.
            loop {
                let (closes, cuts) = (state.closes(), state.cuts(committed.limit(in_flight)));
                if closes.is_empty() && cuts.is_empty() {
                    break;
                }
                for close in closes {
                    closes_out.activate().session(may_close).give_iterator(to_all(peers, &close).into_iter());
                    may_close.downgrade(&(close.tick + 1));
                }
                for cut in cuts {
                    cuts_out.activate().session(may_cut).give_iterator(to_all(peers, &cut).into_iter());
                    may_cut.downgrade(&(cut.tick + 1));
                }
            }
            if state.is_done() {
                held = None;
            }
        }
    });
    Coordinator { cuts, closes }
}

/// The decisions. Pure.
struct State {
    plan: Plan,
    opened: Vec<Option<Opened>>,
    lists: Vec<Option<u64>>,
    ready: Option<(Planner, Watermark)>,
    /// Next tick to cut, and next to close.
    next: Tick,
    closing: Tick,
    /// Reports of the ticks from `closing` on, with how many are still to come.
    pending: VecDeque<(usize, Vec<Taken>)>,
    /// Reports that the planner has not learned, from tick `learned` on.
    known: VecDeque<Vec<Taken>>,
    learned: Tick,
    /// Everything has been ordered, or has ended.
    exhausted: bool,
}

impl State {
    fn new(plan: Plan) -> State {
        State {
            opened: vec![None; plan.out_of_orderness.len()],
            lists: vec![None; plan.processes as usize],
            ready: None,
            next: 0,
            closing: 0,
            pending: VecDeque::new(),
            known: VecDeque::new(),
            learned: 0,
            exhausted: false,
            plan,
        }
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
                let (missing, takens) = &mut self.pending[(taken.tick - self.closing) as usize];
                *missing -= 1;
                takens.push(taken);
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
        let begins = opened.iter().zip(&self.plan.out_of_orderness);
        let begins = begins.map(|(opened, allowed)| opened.begin.map(|begin| begin.saturating_sub(*allowed)));
        let mut watermark = Watermark::new(begins);
        for empty in opened.iter().filter(|opened| opened.size == Some(0)) {
            watermark.advance(empty.partition, None, true);
        }
        self.ready = Some((Planner::new(self.plan.block, self.plan.tick_bytes, &opened), watermark));
    }

    /// Ticks before `limit` that can be cut now.
    fn cuts(&mut self, limit: Tick) -> Vec<Cut> {
        let mut cuts = Vec::new();
        let Some((planner, watermark)) = &mut self.ready else { return cuts };
        while !self.exhausted && self.next < limit && self.closing + LAG > self.next {
            // A plan knows what came up to LAG ticks ago, however much more is known already.
            while self.learned + LAG <= self.next {
                self.known.pop_front().into_iter().flatten().for_each(|taken| planner.learn(&taken));
                self.learned += 1;
            }
            let takes = if watermark.is_ended() { Vec::new() } else { planner.plan() };
            if takes.is_empty() && self.next > 0 {
                // What is still under way may have to say that it goes on: only a partition of unknown size does.
                self.exhausted = self.closing == self.next;
                break;
            }
            self.pending.push_back((takes.len(), Vec::new()));
            cuts.push(Cut { tick: self.next, now: self.plan.now, takes });
            self.next += 1;
        }
        cuts
    }

    /// Ticks that are complete now.
    fn closes(&mut self) -> Vec<Close> {
        let mut closes = Vec::new();
        let Some((_, watermark)) = &mut self.ready else { return closes };
        while let Some((0, _)) = self.pending.front() {
            let (_, takens) = self.pending.pop_front().expect("there is a front");
            for taken in &takens {
                let allowed = self.plan.out_of_orderness[taken.partition as usize];
                let reached = taken.newest.map(|newest| newest.saturating_sub(allowed));
                watermark.advance(taken.partition, reached, taken.ended);
            }
            self.known.push_back(takens);
            let tick = self.closing;
            self.closing += 1;
            let last = watermark.is_ended() && self.closing == self.next;
            self.exhausted |= last;
            closes.push(Close { tick, watermark: watermark.close(), last });
            if self.plan.check_state {
                let count = self.plan.out_of_orderness.len();
                let partitions = (0..count as u32).map(StateScope::Partition);
                let scopes: Vec<StateScope> = [StateScope::Global].into_iter().chain(partitions).collect();
                *watermark = restored(watermark, Watermark::new(vec![None; count]), &scopes);
            }
        }
        closes
    }

    fn is_done(&self) -> bool {
        self.exhausted && self.closing == self.next
    }
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
        }
    }

    fn begun(sizes: [Option<u64>; 2]) -> State {
        let mut state = State::new(plan());
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

    /// Runs to the end, answering `delay` ticks late.
    fn run(state: &mut State, blocks: u64, delay: usize) -> (Vec<Cut>, Vec<Close>) {
        let (mut cuts, mut closes, mut unanswered) = (Vec::new(), Vec::new(), VecDeque::new());
        for _ in 0..100 {
            let new = state.cuts(closes.len() as Tick + 8);
            unanswered.extend(new.iter().cloned());
            cuts.extend(new);
            while unanswered.len() > delay || (state.cuts(closes.len() as Tick + 8).is_empty() && !unanswered.is_empty()) {
                answer(state, &unanswered.pop_front().unwrap(), blocks);
            }
            closes.extend(state.closes());
        }
        assert!(state.is_done());
        (cuts, closes)
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
