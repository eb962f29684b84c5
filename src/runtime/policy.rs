//! What the plan says of the supervisor's business.

use std::time::Duration;

use crate::config::value::{Delay, Rewrite, Step, StopSignals, WaitFor};
use crate::config::{Locks, Plan};
use crate::os::{clock, process, signals};
use crate::supervisor::{Forwarding, KILL_WINDOW, Policy};
use crate::types::{CompatMode, Pid, Signal, SignalSet};

/// How long KILL is repeated to a program that is a helper. One that survives it hangs, has nothing of the caller's, and is
/// not waited for.
const HELPER_KILL_WINDOW: Duration = Duration::from_secs(1);

/// What there is besides the plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostFacts {
    /// The main process is a tool, and no gateway.
    pub(super) tool: bool,
    /// There are units.
    pub(super) neighbours: bool,
    /// There is a control socket, where tools register.
    pub(super) registers: bool,
}

/// The part of the policy that the plan decides.
pub(super) fn policy(plan: &Plan, surroundings: HostFacts) -> Policy {
    let HostFacts { tool, neighbours, registers } = surroundings;
    let halts = if plan.compat == CompatMode::Native { halt_signals() } else { Vec::new() };
    let settings = &plan.settings;
    let stops = match settings.stop_signals {
        StopSignals::Usual => stop_signals(tool),
        StopSignals::These(set) => set,
    };
    // The last rule for a signal counts, so that the operator's come after these.
    let to_term = halts.iter().map(|halt| (*halt, Some(Signal::TERM)));
    Policy {
        grace: settings.grace,
        kill_after: settings.kill_after,
        kill_window: if plan.is_helper { HELPER_KILL_WINDOW } else { KILL_WINDOW },
        group: settings.group,
        stop_signals: halts.iter().fold(stops, |set, halt| set.with(*halt)),
        forwarding: Forwarding {
            rewrite: to_term.chain(settings.rewrite.iter().map(|Rewrite(from, to)| (*from, *to))).collect(),
            delay: settings.delay.iter().map(|Delay(held, time)| (*held, *time)).collect(),
        },
        stop_sequence: settings.stop_sequence.iter().map(|Step(sent, window)| (*sent, *window)).collect(),
        handoff: plan.handoff.as_ref().map(|handoff| handoff.timeout),
        before_stop: plan.before_stop.as_ref().map(|before| before.timeout),
        wait_all: settings.wait == WaitFor::All,
        session: plan.session,
        tool: None,
        // A tool ends its own tree as a whole, and soon enough.
        end_orphans: ((plan.tools.end_orphans || neighbours) && !tool).then_some(plan.tools.grace),
        adopted_deaths_trigger_scan: settings.tool_shell || !registers,
        sweep: plan.locks.as_ref().map(|locks| locks.deadline),
        hand_over: plan.locks.as_ref().and_then(Locks::start_window),
        mark_locks: process::own_pid() == Pid::INIT,
        look_later: plan.locks.as_ref().is_some_and(|locks| locks.look_later),
        can_hold: false,
        init: false,
        restart: plan.restart.clone(),
        seed: 0,
        replace_on: plan.replace_on.clone(),
        units: Vec::new(),
        notify: None,
    }
}

/// What container engines and machines halt their init with: RTMIN+3 (systemd, podman) and PWR (lxc-stop), and as
/// PID 1 also systemd's power-off, reboot and kexec. Few programs know them, and /proc does not tell which do, so
/// that the main process gets TERM in their place. Signals that were ignored when sexton was started stay ignored.
fn halt_signals() -> Vec<Signal> {
    let as_init: &[i32] = if process::own_pid() == Pid::INIT { &[4, 5, 6] } else { &[] };
    let real_time = std::iter::once(&3).chain(as_init);
    real_time
        .filter_map(|above| Signal::new(Signal::RTMIN.number() + above))
        .chain([Signal::PWR])
        .filter(|signal| !signals::is_ignored(*signal))
        .collect()
}

/// TERM, INT and RTMIN+3, the halt signal of systemd and podman, and for a tool HUP. Signals that were ignored when
/// sexton was started are left out: a shell ignores INT for a background command.
fn stop_signals(tool: bool) -> SignalSet {
    let halt = Signal::new(Signal::RTMIN.number() + 3);
    let hang_up = tool.then_some(Signal::HUP);
    [Some(Signal::TERM), Some(Signal::INT), halt, hang_up]
        .into_iter()
        .flatten()
        .filter(|signal| !signals::is_ignored(*signal))
        .collect()
}

/// Differs from sexton to sexton, also where many start in one moment with the same pid.
pub(super) fn seed() -> u64 {
    let moment = u64::from(clock::now().0.subsec_nanos());
    (moment << 32) ^ u64::from(std::process::id())
}
