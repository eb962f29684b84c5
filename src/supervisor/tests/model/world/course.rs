//! Where a small world goes if no more faults happen.

use super::super::super::*;
use super::super::steps::Step;
use super::{Life, World};

impl World {
    /// The gateway just runs, and nothing else is requested.
    pub fn is_calm(&self) -> bool {
        let s = &self.supervisor;
        let waits = s.pending_exit_signal.is_some() || s.failed_unit.is_some() || s.tool.deadline().is_some();
        let dead = self.units.contains(&Life::Zombie);
        self.main == Life::Alive && s.ladder == Ladder::Idle && !self.stop_sent && !waits && !dead
    }

    /// After a stop signal that all processes obey, it ends.
    pub fn ends(mut self, mut now: MonoTime) -> bool {
        const OBEDIENT: [Step; 16] = [
            Step::Begin,
            Step::UnitStarted,
            Step::Started,
            Step::TellDeaths,
            Step::Count,
            Step::SweepDies,
            Step::NoneFound,
            Step::LostAreGone,
            Step::SweepEnds,
            Step::Freeze,
            Step::SweepWaits,
            Step::MainEndsWell,
            Step::UnitDies(1),
            Step::UnitDies(0),
            Step::StrangerDies,
            Step::Deadline,
        ];
        self.does(&OBEDIENT, &mut now, |world| world.exited)
    }

    /// Without faults it ends when it was told to, even if no process obeys: the ladder always ends.
    pub fn ends_by_force(mut self, mut now: MonoTime) -> bool {
        const DEAF: [Step; 7] = [
            Step::OneRuns,
            Step::Begin,
            Step::UnitStarted,
            Step::Started,
            Step::TellDeaths,
            Step::Count,
            Step::Deadline,
        ];
        self.cast.delays = true;
        self.does(&DEAF, &mut now, |world| world.exited)
    }

    /// With a gateway that just runs, it comes to rest: no deadline is left, and no sweep is owed.
    pub fn rests(mut self, mut now: MonoTime) -> bool {
        const CALM: [Step; 11] = [
            Step::UnitStarted,
            Step::TellDeaths,
            Step::Count,
            Step::SweepDies,
            Step::Freeze,
            Step::NoneFound,
            Step::LostAreGone,
            Step::StrangerDies,
            Step::SweepWaits,
            Step::SweepEnds,
            Step::Deadline,
        ];
        let calm =
            |world: &World| world.supervisor.next_deadline().is_none() && !world.sweeping && !world.hanging;
        self.does(&CALM, &mut now, calm) && !self.owed
    }

    fn does(&mut self, steps: &[Step], now: &mut MonoTime, done: impl Fn(&World) -> bool) -> bool {
        // A sweep that always waits again would never end.
        let mut waited = 0;
        // Where KILL is repeated for ten seconds, and the processes are counted beside it, there are some 4,200 steps.
        for _ in 0..6000 {
            if done(self) {
                return true;
            }
            let can = |step: Step, waited: u32| step != Step::SweepWaits || waited < 4;
            let Some(step) = steps.iter().copied().find(|step| can(*step, waited) && self.step(*step, now))
            else {
                return false;
            };
            waited += u32::from(step == Step::SweepWaits);
        }
        false
    }
}
