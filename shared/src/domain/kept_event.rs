//! Events that could not take effect yet, and when they are looked at again.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::digest::sha256_hex;
use super::{CourseId, CourseRole, Email, EventKey, EventKind, Mode};

/// An accepted event that waits for its time. There is one for each [`EventKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEvent {
    /// The table's key, made of kind, address and course id.
    pub event_key: EventKey,
    /// Which webhook it came by.
    pub kind: EventKind,
    /// The address in its normal form; there may be no user of it yet.
    pub email: Email,
    /// The run that was announced, whether or not the portal knows it.
    pub course_id: CourseId,
    /// Those of all its deliveries; empty where none named one.
    pub roles: BTreeSet<CourseRole>,
    /// The last mode that a delivery named; absent where none did.
    pub mode: Option<Mode>,
    /// What was missing when it was last delivered.
    pub reason: Reason,
    /// Each delivery makes it `Waiting`.
    pub state: KeptState,
    /// How often it was looked at again since it was kept, or kept anew.
    pub tries: u32,
    /// When it is due. A redelivery moves it only where the event had ended.
    pub next_look: Timestamp,
    /// When it was first kept, or kept anew after it had ended.
    pub kept_at: Timestamp,
    /// When it was last delivered: what is newer than this is never undone by it.
    pub delivered_at: Timestamp,
    /// Grows with every write; a change rests on the version that was read.
    pub version: u64,
}

/// Why an event is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No user has the address.
    NoSuchUser,
    /// The user is known, and the course run is not.
    NoSuchRun,
}

/// What is to become of a kept event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeptState {
    /// It is looked at again when its time comes.
    Waiting,
    /// Given up after trouble that is not the event's own; alarmed.
    Dead,
    /// Given up because what it waits for never came; listed, not alarmed.
    Expired,
}

impl Reason {
    /// The word that the table has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSuchUser => "no_such_user",
            Self::NoSuchRun => "no_such_run",
        }
    }

    /// How long after the last look the next one is due, before jitter.
    fn interval(self, tries: u32) -> SignedDuration {
        let intervals = match self {
            Self::NoSuchUser | Self::NoSuchRun => [
                SignedDuration::from_mins(1),
                SignedDuration::from_mins(5),
                SignedDuration::from_hours(24),
            ],
        };
        let last = intervals.len() - 1;
        let index = usize::try_from(tries).map_or(last, |tries| tries.min(last));
        intervals[index]
    }

    /// When an event that was looked at `tries` times, the last time at `now`,
    /// is due again: the interval give or take 20 %.
    ///
    /// The spread comes from the event's own key, so that events kept together
    /// are not all due together, and needs no source of chance.
    pub fn next_look(self, key: &EventKey, tries: u32, now: Timestamp) -> Timestamp {
        let digest = sha256_hex(format!("{key}{tries}").as_bytes());
        let spread = digest
            .get(..8)
            .and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let permille = 800 + i64::from(spread.unwrap_or(200) % 401);
        let wait = self.interval(tries).as_secs() * permille;
        now.checked_add(SignedDuration::from_millis(wait))
            .unwrap_or(now)
    }

    /// What the event waits for: the one key under which it is found when that comes.
    pub fn waits_for(self, email: &Email, course_id: &CourseId) -> String {
        match self {
            Self::NoSuchUser => format!("user:{}", sha256_hex(email.as_str().as_bytes())),
            Self::NoSuchRun => format!("run:{course_id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_look_is_the_interval_give_or_take_a_fifth() {
        let now = Timestamp::UNIX_EPOCH;
        let mut distinct = BTreeSet::new();
        for person in 0..200 {
            let email = format!("learner{person}@example.org").parse().unwrap();
            let course_id = "course-v1:a+b+c".parse().unwrap();
            let key = EventKey::of(EventKind::Enrollment, &email, &course_id);
            for (tries, minutes) in [(0, 1.0), (1, 5.0), (2, 1440.0), (99, 1440.0)] {
                let due = Reason::NoSuchUser.next_look(&key, tries, now);
                let ratio = due.as_millisecond() as f64 / (minutes * 60_000.0);
                assert!((0.8..=1.2).contains(&ratio), "try {tries}: {ratio}");
                distinct.insert((tries, due));
            }
        }
        assert!(distinct.len() > 400, "only {} moments", distinct.len());
    }
}
