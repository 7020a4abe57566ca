//! Sweeps against a model: small runs of random learners, lists of the LMS in small
//! pages, and others who change things between two pages.

mod enrollments;
mod grades;

use std::cell::Cell;
use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

use app::sweeping::{Kind, Progress, Request, SweepEvent, Sweeping};
use common::clock::FakeClock;
use domain::{Change, SweepOptions, SweepOutcome};
use harness::sweep::{email, id, username};
use harness::{Portal, RUN};
use proptest::prelude::*;
use tokio::runtime::{Handle, Runtime};
use tokio::task::block_in_place;

/// A sweep of a run of random learners.
#[derive(Debug, Clone)]
struct Scene<S, R, O> {
    learners: Vec<(S, ListRow<R>)>,
    /// Changes by others: after which page, to which learner, and the change.
    others: Vec<(usize, usize, O)>,
    /// The number of additional learners who would each lose what they have.
    losers: usize,
    rows_of_a_page: usize,
    /// True if one call does all pages. Otherwise each call does one page.
    in_one_call: bool,
    options: SweepOptions,
}

/// The row of a learner in the LMS's list.
#[derive(Debug, Clone, Copy)]
enum ListRow<R> {
    Absent,
    /// An unreadable row.
    Wrong,
    Sound(R),
}

/// The expected state of one learner, and its changes by the rules that the sweeps must
/// keep.
trait State: Clone + PartialEq + Debug {
    /// True if a confirmed sweep takes at once what a learner would lose, without asking
    /// the LMS again.
    const CONFIRMED_AT_ONCE: bool;

    type Row: Copy;
    type Other: Copy;

    /// The LMS is asked now. Changes from here on are newer than its answer.
    fn asked(&mut self);

    /// Somebody else changes something.
    fn changed(&mut self, other: Self::Other);

    /// The sweep handles the learner: it does everything except a loss. Returns true if
    /// the learner is to lose something.
    fn swept(&mut self, row: Self::Row) -> bool;

    /// The loss takes effect, unless something has changed since the LMS was asked.
    fn taken(&mut self);
}

impl<S: State> Scene<S, S::Row, S::Other> {
    /// The expected states of all learners at the end, and the outcome of the sweep.
    fn end(&self) -> (Vec<S>, SweepOutcome) {
        let is_listed = |(_, row): &&(S, ListRow<S::Row>)| !matches!(row, ListRow::Absent);
        let rows = self.learners.iter().filter(is_listed).count() + self.losers;
        let pages = rows.div_ceil(self.rows_of_a_page).max(1);
        let mut listed = 0;
        let mut ends = Vec::new();
        for (learner, (start, row)) in self.learners.iter().enumerate() {
            let mut state = start.clone();
            let others = |pages: Range<usize>| {
                let mut others = self.others.clone();
                others.retain(|(after, other, _)| *other == learner && pages.contains(after));
                others.sort_by_key(|(after, ..)| *after);
                others
            };
            let page = listed / self.rows_of_a_page;
            listed += usize::from(!matches!(row, ListRow::Absent));
            // In one call a page is requested while the previous one is processed.
            let asked = if self.in_one_call {
                page.saturating_sub(1)
            } else {
                page
            };
            let change = |state: &mut S, pages| {
                for (_, _, other) in others(pages) {
                    state.changed(other);
                }
            };
            change(&mut state, 0..asked);
            state.asked();
            change(&mut state, asked..page);
            let before = state.clone();
            let mut loses = match row {
                ListRow::Sound(row) => state.swept(*row),
                ListRow::Absent | ListRow::Wrong => false,
            };
            if self.options.dry_run {
                state = before;
            }
            if loses && self.options.confirm && S::CONFIRMED_AT_ONCE {
                state.taken();
                loses = false;
            }
            change(&mut state, page..pages);
            ends.push((state, row, loses));
        }
        let losers = if self.options.confirm { 0 } else { self.losers };
        let losing = losers + ends.iter().filter(|(.., loses)| *loses).count();
        // More than ten. In so small a run that is always more than 2 %.
        let is_halted = losing > 10 && !self.options.confirm;
        let ends = ends.into_iter().map(|(mut state, row, loses)| {
            if let ListRow::Sound(row) = row
                && loses
                && !is_halted
                && !self.options.dry_run
            {
                // The LMS is asked once more.
                state.asked();
                if state.swept(*row) {
                    state.taken();
                }
            }
            state
        });
        let outcome = if is_halted {
            SweepOutcome::Halted
        } else {
            SweepOutcome::Done
        };
        (ends.collect(), outcome)
    }

    /// Sweeps the run on a portal that holds it, and returns the outcome. `change` makes
    /// the changes by others.
    async fn sweep<K: Kind>(
        &self,
        sweeping: &Sweeping<K>,
        clock: &FakeClock,
        change: impl AsyncFn(u32, S::Other),
    ) -> SweepOutcome {
        let pages = Cell::new(0);
        let on_event = |event: SweepEvent<'_>| {
            if let SweepEvent::Page(_) = event {
                let page = pages.replace(pages.get() + 1);
                let others = self.others.iter().filter(|(after, ..)| *after == page);
                let all = async {
                    clock.advance(Duration::from_secs(60));
                    for (_, learner, other) in others {
                        change(u32::try_from(*learner).unwrap(), *other).await;
                    }
                    clock.advance(Duration::from_secs(60));
                };
                block_in_place(|| Handle::current().block_on(all));
            }
        };
        let request = Request {
            run: RUN.parse().unwrap(),
            learner: None,
            options: self.options,
            operator: None,
        };
        let mut calls = 0;
        loop {
            calls += 1;
            assert!(calls < 100, "it does not end");
            let may_continue = || self.in_one_call;
            match sweeping
                .sweep(&request, &may_continue, &on_event)
                .await
                .unwrap()
            {
                Progress::Suspended { wait, .. } => clock.advance(wait),
                Progress::Ended(end) => {
                    assert_eq!(end.options, self.options);
                    return end.outcome;
                }
            }
        }
    }

    /// The numbers of the additional learners who lose what they have.
    fn losers(&self) -> Range<u32> {
        let first = u32::try_from(self.learners.len()).unwrap();
        first..first + u32::try_from(self.losers).unwrap()
    }
}

/// A random scene of learners, rows and changes by others.
fn scene<S: State, R: Debug + Copy, O: Debug + Copy>(
    state: impl Strategy<Value = S>,
    row: impl Strategy<Value = R>,
    other: impl Strategy<Value = O>,
) -> impl Strategy<Value = Scene<S, R, O>> {
    let row = prop_oneof![
        1 => Just(ListRow::Absent),
        1 => Just(ListRow::Wrong),
        12 => row.prop_map(ListRow::Sound),
    ];
    let options = prop_oneof![
        4 => Just((false, false)),
        1 => Just((true, false)),
        1 => Just((false, true)),
    ];
    (
        prop::collection::vec((state, row), 1..8),
        prop::collection::vec((0..4_usize, 0..7_usize, other), 0..6),
        prop_oneof![4 => Just(0), 1 => 8..12_usize],
        2..4_usize,
        any::<bool>(),
        options,
        any::<bool>(),
    )
        .prop_map(|scene| {
            let (learners, mut others, losers, rows_of_a_page, in_one_call, options, force) = scene;
            others.retain(|(_, learner, _)| *learner < learners.len());
            let (dry_run, confirm) = options;
            Scene {
                learners,
                others,
                losers,
                rows_of_a_page,
                in_one_call,
                options: SweepOptions {
                    force,
                    dry_run,
                    confirm,
                },
            }
        })
}

/// Returns a runtime with one more thread than is blocked while others change something.
fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap()
}

async fn put_learner(portal: &Portal, learner: u32) {
    let id = id(learner).to_string();
    portal
        .put_user(&email(learner), &id, Some(&username(learner)))
        .await;
}

fn operator() -> Change {
    Change::Operator {
        name: "a test".to_owned(),
    }
}
