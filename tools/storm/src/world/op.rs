//! The op on whose behalf a call is made: its faults, its random source, its death.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::steps::{Fault, Op, Service};

tokio::task_local! {
    static CURRENT: RefCell<Current>;
}

/// The calls, faults and deaths of a run, counted.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Calls by the service they went to.
    pub calls: BTreeMap<Service, u64>,
    /// Faults by service and kind.
    pub faults: BTreeMap<(Service, Fault), u64>,
    /// Processes that died in the middle of an action.
    pub deaths: u64,
}

impl Counts {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (service, calls) in &other.calls {
            *self.calls.entry(*service).or_default() += calls;
        }
        for (fault, times) in &other.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
        self.deaths += other.deaths;
    }
}

/// Counts that the parts of a world share.
pub type SharedCounts = Arc<Mutex<Counts>>;

/// Locks, whatever happened to the thread that held the lock.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fault that struck, and the service whose call it struck.
pub type Struck = (Service, Fault);

struct Current {
    faults: Vec<(Service, u16, Fault)>,
    calls: BTreeMap<Service, u16>,
    struck: Vec<Struck>,
    random: fastrand::Rng,
}

/// Runs the work of an op, with its faults. Its latencies follow from `seed`. Returns the
/// faults that struck beside the result.
pub async fn scope<F: Future>(op: &Op, seed: u64, work: F) -> (F::Output, Vec<Struck>) {
    let current = Current {
        faults: op.faults.clone(),
        calls: BTreeMap::new(),
        struck: Vec::new(),
        random: fastrand::Rng::with_seed(seed),
    };
    CURRENT
        .scope(RefCell::new(current), async {
            let output = work.await;
            let struck = CURRENT.with(|current| std::mem::take(&mut current.borrow_mut().struck));
            (output, struck)
        })
        .await
}

/// Counts a call to `service`, and returns its fault, if it has one that the service has and that
/// `applies` to the call.
pub fn fault(
    service: Service,
    counts: &SharedCounts,
    applies: impl Fn(Fault) -> bool,
) -> Option<Fault> {
    let mut counts = lock(counts);
    *counts.calls.entry(service).or_default() += 1;
    let fault = CURRENT
        .try_with(|current| {
            let mut current = current.borrow_mut();
            let calls = current.calls.entry(service).or_default();
            let number = *calls;
            *calls += 1;
            let mut faults = current.faults.iter();
            let (_, _, fault) = *faults.find(|(of, call, fault)| {
                (*of, *call) == (service, number) && service.has(*fault) && applies(*fault)
            })?;
            current.struck.push((service, fault));
            Some(fault)
        })
        .ok()
        .flatten()?;
    *counts.faults.entry((service, fault)).or_default() += 1;
    Some(fault)
}

/// Waits for 1 to 20 ms, as a network does.
pub async fn latency() {
    let ms = CURRENT.try_with(|current| current.borrow_mut().random.u64(1..=20));
    tokio::time::sleep(Duration::from_millis(ms.unwrap_or(1))).await;
}

/// Work that ends without a result after a number of polls: the process has died.
pub struct Mortal<F> {
    work: Option<Pin<Box<F>>>,
    polls: Option<u16>,
}

impl<F: Future> Mortal<F> {
    /// Returns the work, which dies after so many polls; if `polls` is `None`, it does not.
    pub fn new(work: F, polls: Option<u16>) -> Self {
        Self {
            work: Some(Box::pin(work)),
            polls,
        }
    }
}

impl<F: Future> Future for Mortal<F> {
    /// `None` if the process died.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == Some(0) {
            self.work = None;
            return Poll::Ready(None);
        }
        let Some(work) = &mut self.work else {
            return Poll::Ready(None);
        };
        let polled = work.as_mut().poll(context);
        if polled.is_pending()
            && let Some(polls) = &mut self.polls
        {
            *polls -= 1;
            if *polls == 0 {
                // Dies now, without waiting for what it waited for.
                context.waker().wake_by_ref();
            }
        }
        polled.map(Some)
    }
}
