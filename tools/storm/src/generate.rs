//! Random steps.

use fastrand::Rng;

use crate::steps::{
    Action, Fault, LEARNERS, Mode, Mood, Of, Op, RUNS, Role, Score, Service, Step, Sweep,
};

/// Returns a random sequence of steps.
pub fn steps(seed: u64, number: usize) -> Vec<Step> {
    let mut random = Rng::with_seed(seed);
    // Some portals are calm, some are not.
    let trouble = random.u8(0..4);
    // In some portals most happens to one learner.
    let learners = if random.bool() { LEARNERS } else { 1 };
    // In a few, one record changes more often than its history can hold.
    let is_busy = random.u8(0..20) == 0;
    let mut generator = Generator {
        random,
        learners,
        trouble,
        is_busy,
    };
    (0..number).map(|_| generator.step()).collect()
}

struct Generator {
    random: Rng,
    learners: u8,
    trouble: u8,
    is_busy: bool,
}

impl Generator {
    fn step(&mut self) -> Step {
        if self.random.u8(0..100) < 35 {
            return vec![Op::from(self.world())];
        }
        let at_once = match self.random.u8(0..10) {
            0..7 => 1,
            7..9 => 2,
            _ => 3,
        };
        let mut step: Step = (0..at_once).map(|_| self.op()).collect();
        if step.len() > 1 {
            // Of an erasure that is interrupted, what others wrote meanwhile is left.
            let erases = |op: &&mut Op| matches!(op.action, Action::Erase(_));
            for op in step.iter_mut().filter(erases) {
                op.faults.clear();
                op.dies = None;
            }
        }
        step
    }

    fn op(&mut self) -> Op {
        let mut op = Op::from(self.action());
        if self.random.bool() {
            op.after = self.random.u16(0..200);
        }
        if self.trouble > 0 && self.random.u8(0..10) < 2 * self.trouble {
            match self.random.u8(0..8) {
                0 | 1 => op.dies = Some(self.random.u16(1..60)),
                2 => {
                    // A service that fails for a while.
                    let (service, first, fault) = self.fault(op.action);
                    let calls = first..first + 6;
                    op.faults = calls.map(|call| (service, call, fault)).collect();
                }
                _ => {
                    for _ in 0..self.random.u8(1..4) {
                        op.faults.push(self.fault(op.action));
                    }
                }
            }
        }
        op
    }

    /// A fault of one of the action's first calls to a service.
    fn fault(&mut self, action: Action) -> (Service, u16, Fault) {
        let (service, calls) = if action.asks_others() {
            self.pick(&[
                (Service::Tables, 14),
                (Service::Tables, 14),
                (Service::Lms, 4),
                (Service::Secrets, 3),
            ])
        } else {
            (Service::Tables, 14)
        };
        let faults = Fault::ALL.into_iter();
        let faults: Vec<_> = faults.filter(|fault| service.has(*fault)).collect();
        (service, self.random.u16(..calls), self.pick(&faults))
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())]
    }

    fn of(&mut self) -> Of {
        Of(self.learner(), self.run())
    }

    fn learner(&mut self) -> u8 {
        self.random.u8(..self.learners)
    }

    fn run(&mut self) -> u8 {
        // Run 0 is the one whose certificates are available.
        u8::from(self.random.u8(..4) == 0).min(RUNS - 1)
    }

    fn mode(&mut self) -> Mode {
        self.pick(&[Mode::Audit, Mode::Honor, Mode::Verified, Mode::Verified])
    }

    fn score(&mut self) -> Score {
        // Most courses pass at a percentage; some ask for more, or for less.
        self.pick(&[
            Score(0, false),
            Score(0, false),
            Score(0, true),
            Score(30, false),
            Score(30, true),
            Score(60, true),
            Score(90, true),
            Score(90, true),
            Score(90, false),
        ])
    }

    fn sweep(&mut self) -> Sweep {
        match self.random.u8(..8) {
            0..4 => Sweep::Full,
            4..6 => Sweep::Short,
            6 => self.pick(&[Sweep::Dry, Sweep::Forced]),
            _ => Sweep::Alone(self.learner()),
        }
    }

    fn maybe<T>(&mut self, some: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.random.bool().then(|| some(self))
    }

    /// Something that a learner, the LMS or an operator does.
    fn action(&mut self) -> Action {
        if self.is_busy && self.random.u8(..10) > 0 {
            return self.toggle(Of(0, 0));
        }
        match self.random.u8(0..100) {
            0..42 => self.delivery(),
            42..58 => Action::Retry,
            58..64 => Action::SweepGrades(self.run(), self.sweep()),
            64..70 => Action::SweepEnrollments(self.run(), self.sweep()),
            70 => Action::Rename(self.learner()),
            71..77 => Action::ImportUser(self.learner(), self.random.u8(..4) > 0),
            77..82 => Action::ImportRun(self.run()),
            82..84 => Action::ImportEnrollment(self.of(), self.mode(), self.random.u8(..4) > 0),
            84..85 => Action::ImportGrade(self.of(), self.score()),
            85..86 => Action::ImportCertificate(self.of()),
            86..89 => {
                let (mode, active) = (self.maybe(Self::mode), self.maybe(|g| g.random.bool()));
                Action::Set(self.of(), mode, active)
            }
            89 => Action::Issue(self.of()),
            90..91 => Action::RemoveRole(self.of(), self.pick(&Role::ALL)),
            91..93 => Action::Override(self.of(), self.score()),
            93..94 => Action::Release(self.of()),
            94..95 => Action::Revoke(self.of()),
            95..96 => Action::Restore(self.of()),
            96..97 => Action::RetryEvents,
            97..98 => Action::DropEvents(self.of()),
            98 => Action::Intrude(self.of()),
            _ => Action::Erase(self.learner()),
        }
    }

    /// Something that changes a record each time.
    fn toggle(&mut self, of: Of) -> Action {
        match self.random.u8(..8) {
            0 | 1 => Action::Enroll(of, None, Some(Mode::Verified)),
            2 => Action::Unenroll(of),
            3 => Action::Set(of, Some(self.mode()), Some(self.random.bool())),
            4 | 5 => Action::Override(of, self.score()),
            6 => Action::Revoke(of),
            _ => Action::Restore(of),
        }
    }

    /// A delivery of any kind.
    fn delivery(&mut self) -> Action {
        match self.random.u8(0..10) {
            0..5 => {
                let role = self.maybe(|g| g.pick(&Role::ALL));
                let mode = self.maybe(Self::mode);
                Action::Enroll(self.of(), role, mode)
            }
            5..7 => Action::Unenroll(self.of()),
            _ => Action::Pass(self.of()),
        }
    }

    /// Something that happens around the portal.
    fn world(&mut self) -> Action {
        match self.random.u8(0..100) {
            0..40 => Action::Wait(self.wait()),
            40..62 => Action::LmsGrade(self.of(), self.score()),
            62..66 => Action::LmsForgets(self.of()),
            66..86 => Action::LmsEnrollment(self.of(), self.mode(), self.random.u8(..4) > 0),
            86..94 if self.trouble > 1 => {
                let mood = self.pick(&[
                    Mood::Up,
                    Mood::Up,
                    Mood::Up,
                    Mood::Down,
                    Mood::Throttles,
                    Mood::Hangs,
                    Mood::Maintenance,
                ]);
                Action::LmsIs(mood)
            }
            94..97 if self.trouble > 1 => Action::Secrets(self.random.u8(..4) > 0),
            97 => Action::Restart,
            98 => Action::TimeToLive,
            _ => Action::Wait(self.wait()),
        }
    }

    /// Seconds, minutes or days.
    fn wait(&mut self) -> u32 {
        match self.random.u8(0..10) {
            0..3 => self.random.u32(1..90),
            3..7 => self.random.u32(60..1200),
            7..9 => self.random.u32(3600..86_400),
            _ => self.random.u32(86_400..20 * 86_400),
        }
    }
}
