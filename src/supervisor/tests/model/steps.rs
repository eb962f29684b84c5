//! Who there is in the small world, and what can happen in it.

/// Who and what there is besides a gateway, its units and the sweeps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cast {
    /// sexton adopts a process that it did not start.
    pub stranger: bool,
    /// And another one after him.
    pub crowd: bool,
    /// His death is not told to us: a session of `docker exec`.
    pub foreign: bool,
    /// Nor is it, though he is our child: the kernel reaps him without a word.
    pub unheard: bool,
    /// Tools lose their supervisor.
    pub tools: bool,
    /// The system has no process to give, a sweep breaks off, or the command cannot be executed.
    pub refusals: bool,
    /// What is given up ends late or never, sweeps leave something, a process runs on.
    pub delays: bool,
    /// No process can be killed, because all hang in the kernel.
    pub stuck: bool,
    /// Conditions, requests, signals that stop nothing, ticks too early.
    pub words: bool,
}

/// What can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Begin,
    SweepEnds,
    SweepLeavesSome,
    SweepFails,
    SweepBreaksOff,
    SweepWaits,
    SweepDies,
    Freeze,
    OneRuns,
    CannotStandStill,
    Started,
    StartFails,
    StartRefused,
    CannotExecute,
    UnitStarted,
    UnitStartFails,
    MainDies,
    MainEndsWell,
    UnitDies(usize),
    UnitIsKilled(usize),
    StrangerComes,
    StrangerDies,
    TellDeaths,
    Count,
    ToolLost,
    LostFound,
    NoneFound,
    LostAreGone,
    StopSignal,
    OtherSignal,
    CommandEnds,
    Condition,
    RestartWanted,
    UnitRestartWanted,
    Cancel,
    Abandoned,
    EarlyTick,
    /// sexton itself stood still for a second.
    LateTick,
    Deadline,
}

impl Step {
    /// Hardly anything follows it.
    pub fn is_final(self) -> bool {
        matches!(self, Step::StopSignal | Step::Cancel | Step::Abandoned | Step::StartFails)
    }
}

pub const STEPS: [Step; 41] = [
    Step::Begin,
    Step::SweepEnds,
    Step::SweepLeavesSome,
    Step::SweepFails,
    Step::SweepBreaksOff,
    Step::SweepWaits,
    Step::SweepDies,
    Step::Freeze,
    Step::OneRuns,
    Step::CannotStandStill,
    Step::Started,
    Step::StartFails,
    Step::StartRefused,
    Step::CannotExecute,
    Step::UnitStarted,
    Step::UnitStartFails,
    Step::MainDies,
    Step::MainEndsWell,
    Step::UnitDies(0),
    Step::UnitDies(1),
    Step::UnitIsKilled(0),
    Step::UnitIsKilled(1),
    Step::StrangerComes,
    Step::StrangerDies,
    Step::TellDeaths,
    Step::Count,
    Step::ToolLost,
    Step::LostFound,
    Step::NoneFound,
    Step::LostAreGone,
    Step::StopSignal,
    Step::OtherSignal,
    Step::CommandEnds,
    Step::Condition,
    Step::RestartWanted,
    Step::UnitRestartWanted,
    Step::Cancel,
    Step::Abandoned,
    Step::EarlyTick,
    Step::LateTick,
    Step::Deadline,
];
