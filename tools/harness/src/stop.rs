//! Stops a process while it works.

use std::fmt::Debug;

use local::lms::{At, FaultRule, LmsFault};
use local::{Fault, FaultyProxy, Lms};

/// The point at which a process is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Before its call of this number to the tables takes effect; the first call is 1.
    Before(usize),
    /// After that call takes effect, and before its answer arrives.
    After(usize),
    /// After this part of the LMS has received a request.
    Asking(At),
}

impl Stop {
    /// Returns all stops of some work that makes `calls` calls to the tables, and requests a token
    /// and this part of the LMS.
    pub fn all(calls: usize, at: At) -> Vec<Self> {
        let at_calls = (1..=calls).flat_map(|n| [Self::Before(n), Self::After(n)]);
        at_calls
            .chain([Self::Asking(At::Token), Self::Asking(at)])
            .collect()
    }
}

/// Runs `work`, which reaches the tables through `proxy`, until it is stopped there; returns
/// whether it reached that point. Stopped work is dropped, as a process would be.
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
