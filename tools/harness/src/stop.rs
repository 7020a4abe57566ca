//! A process that is stopped while it works.

use std::fmt::Debug;

use local::lms::{At, FaultRule, LmsFault};
use local::{Fault, FaultyProxy, Lms};

/// Where it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Before its call of this number to the tables takes effect, the first being 1.
    Before(usize),
    /// After that, and before it knows.
    After(usize),
    /// When this part of the LMS has been asked.
    Asking(At),
}

impl Stop {
    /// All stops of some work that makes so many calls to the tables, and asks
    /// the LMS for a token and at this part of it.
    pub fn all(calls: usize, at: At) -> Vec<Self> {
        let at_calls = (1..=calls).flat_map(|n| [Self::Before(n), Self::After(n)]);
        at_calls
            .chain([Self::Asking(At::Token), Self::Asking(at)])
            .collect()
    }
}

/// Does `work`, which reaches the tables through `proxy`, until it is stopped
/// there; whether it came so far. What is stopped is gone, as a process is.
pub async fn stopped<T: Debug>(
    stop: Stop,
    proxy: &FaultyProxy,
    lms: &Lms,
    work: impl Future<Output = T>,
) -> bool {
    let before = proxy.calls().len();
    match stop {
        Stop::Before(n) | Stop::After(n) => proxy.set(move |call| {
            if call.number != before + n {
                Fault::Pass
            } else if matches!(stop, Stop::Before(_)) {
                Fault::Hang
            } else {
                Fault::Swallow
            }
        }),
        Stop::Asking(at) => lms.add_fault(FaultRule::of(LmsFault::Hang).at(at)),
    }
    let asked = async |at| {
        let before = lms.count(at);
        while lms.count(at) == before {
            tokio::task::yield_now().await;
        }
    };
    let there = async {
        match stop {
            Stop::Before(_) | Stop::After(_) => proxy.stuck(1).await,
            Stop::Asking(at) => asked(at).await,
        }
    };
    let came_there = tokio::select! {
        _ = work => false,
        () = there => true,
    };
    proxy.set(|_| Fault::Pass);
    if matches!(stop, Stop::Asking(_)) {
        lms.revoke();
    }
    came_there
}
