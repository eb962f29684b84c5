//! Compares the time that sexton needs to stop with the time that the service manager or the container engine gives it.
//! If these kill sexton earlier, the gateway cannot finish its work, and leaves its locks.

use std::path::Path;
use std::time::Duration;

use sexton::config::Plan;
use sexton::os::privileges;

use super::finding::Finding;
use super::versions::{self, Version};
use crate::probe;

const NAME: &str = "stop windows";

/// Who may kill sexton while it stops.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Above {
    /// The operator said how long it waits.
    Told(Duration),
    Systemd(Service),
    /// A container engine. Inside the container one cannot see how long it waits.
    Container,
    /// Nothing that kills sexton.
    Nothing,
    /// systemd did not say.
    Unknown(String),
}

/// What systemd has in force for the unit that sexton runs in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Service {
    unit: String,
    /// `None` for infinity.
    timeout: Option<Duration>,
    kill_mode: String,
    /// It listens to sexton, which extends the time stage by stage.
    notified: bool,
}

/// Compares them. `told` is what the operator says that the engine waits for.
pub async fn check(
    plan: &Plan,
    sexton: Option<i32>,
    told: Option<Duration>,
    deadline: Duration,
) -> Vec<Finding> {
    let above = match (told, sexton) {
        (Some(told), _) => Above::Told(told),
        (None, Some(pid)) => above(pid, deadline).await,
        (None, None) if is_container() => Above::Container,
        (None, None) => Above::Nothing,
    };
    judge(plan.longest_stop(), &above)
}

/// The time that this release of OpenClaw takes to drain.
pub fn drain(plan: &Plan, version: Version) -> Vec<Finding> {
    let drains = Duration::from_secs(versions::drains(version));
    if !plan.settings.stop_sequence.is_empty() || plan.settings.grace >= drains {
        return Vec::new();
    }
    let what = format!(
        "this release of OpenClaw drains for up to {} when it is stopped, and has {}",
        shown(drains),
        shown(plan.settings.grace)
    );
    let grace = shown(drains + Duration::from_secs(5));
    vec![Finding::warning(NAME, what, format!("Set grace = \"{grace}\", and a longer stop timeout above"))]
}

fn is_container() -> bool {
    let engine = ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists());
    engine || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

async fn above(sexton: i32, deadline: Duration) -> Above {
    let groups = std::fs::read_to_string(format!("/proc/{sexton}/cgroup")).unwrap_or_default();
    match unit(&groups) {
        Some(unit) if Path::new("/run/systemd/system").exists() => service(&unit, &groups, deadline).await,
        _ if sexton == 1 || is_container() => Above::Container,
        _ => Above::Nothing,
    }
}

/// The service in /proc/PID/cgroup, of version 2 or of systemd's own hierarchy of version 1.
fn unit(groups: &str) -> Option<String> {
    let paths = groups.lines().filter_map(|line| {
        line.strip_prefix("0::").or(line.split_once("name=systemd:").map(|(_, path)| path))
    });
    let units = paths.filter_map(|path| {
        path.split('/').rfind(|part| part.ends_with(".service") || part.ends_with(".scope"))
    });
    // A terminal's session does not stop sexton, and neither does a whole service manager.
    let services = units.filter(|name| name.ends_with(".service") && !name.starts_with("user@"));
    services.map(str::to_owned).next()
}

async fn service(unit: &str, groups: &str, deadline: Duration) -> Above {
    let mut line: Vec<String> = vec!["systemctl".into()];
    if groups.contains("/user@") && privileges::effective_uid() != 0 {
        line.push("--user".into());
    }
    line.extend(
        ["show", "--property=TimeoutStopUSec,KillMode,NotifyAccess,Type", "--", unit].map(str::to_owned),
    );
    let heard = probe::hear(&line, deadline).await;
    match heard.end {
        probe::End::Code(0, _) => read(unit, &heard.said),
        other => Above::Unknown(format!("systemctl did not say ({other:?})")),
    }
}

fn read(unit: &str, said: &str) -> Above {
    let value = |name: &str| {
        said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    let timeout = match value("TimeoutStopUSec") {
        "infinity" => None,
        text => match humantime::parse_duration(text) {
            Ok(time) => Some(time),
            Err(_) => return Above::Unknown(format!("systemd's TimeoutStopUSec of {unit} is '{text}'")),
        },
    };
    Above::Systemd(Service {
        unit: unit.to_owned(),
        timeout,
        kill_mode: value("KillMode").to_owned(),
        notified: value("Type").starts_with("notify") && !matches!(value("NotifyAccess"), "" | "none"),
    })
}

fn shown(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

fn judge(needed: Duration, above: &Above) -> Vec<Finding> {
    let need = shown(needed);
    // A little more than what is needed, in whole seconds.
    let enough = Duration::from_secs(needed.as_secs() + 5);
    let seconds = enough.as_secs();
    let short = |who: &str, time: Duration, advice: String| {
        let what = format!(
            "{who} kills after {}, and sexton's windows need up to {need}: what is killed has no window, \
            and leaves its locks",
            shown(time)
        );
        Finding::problem(NAME, what, advice)
    };
    let finding = match above {
        Above::Nothing => {
            Finding::ok(NAME, format!("a stop takes at most {need}, and nothing above cuts it short"))
        }
        Above::Unknown(why) => Finding::warning(
            NAME,
            format!("a stop takes up to {need}; {why}"),
            "'--stop-timeout' says what is in force",
        ),
        Above::Container => Finding::warning(
            NAME,
            format!(
                "a stop takes up to {need}, and it cannot be seen from inside when the engine kills; docker's default is 10s, Kubernetes' 30s"
            ),
            format!(
                "Set stop_grace_period: {seconds}s or terminationGracePeriodSeconds: {seconds}, and say so: --stop-timeout {seconds}s"
            ),
        ),
        Above::Told(told) if *told < needed => short(
            "what stands above",
            *told,
            format!(
                "Give it {seconds}s (stop_grace_period, terminationGracePeriodSeconds, TimeoutStopSec), or set a shorter --grace"
            ),
        ),
        Above::Told(told) => {
            Finding::ok(NAME, format!("a stop takes at most {need}, and has {}", shown(*told)))
        }
        Above::Systemd(service) => {
            let Service { unit, timeout, kill_mode, notified } = service;
            match timeout {
                _ if kill_mode == "control-group" => Finding::warning(
                    NAME,
                    format!(
                        "KillMode=control-group in {unit}: systemd's TERM goes to every process at once, and a gateway that drains through its children cannot"
                    ),
                    "Set KillMode=mixed, which leaves the order to sexton",
                ),
                Some(time) if *time < needed && !notified => short(
                    &format!("systemd ({unit})"),
                    *time,
                    format!(
                        "Set TimeoutStopSec={seconds}, or Type=notify and NotifyAccess=main, which lets sexton extend it"
                    ),
                ),
                Some(time) => {
                    let extends = if *time < needed { ", which sexton extends" } else { "" };
                    Finding::ok(
                        NAME,
                        format!("a stop takes at most {need}, and {unit} has {}{extends}", shown(*time)),
                    )
                }
                None => Finding::ok(NAME, format!("a stop takes at most {need}, and {unit} waits for ever")),
            }
        }
    };
    vec![finding]
}

#[cfg(test)]
mod tests {
    use sexton::types::CompatMode;

    use super::super::finding::Severity;
    use super::*;

    const SAID: &str = "Type=simple\nTimeoutStopUSec=1min 30s\nNotifyAccess=none\nKillMode=mixed\n";

    fn grade(needed: u64, above: &Above) -> Severity {
        judge(Duration::from_secs(needed), above)[0].grade
    }

    #[test]
    fn systemds_answer_is_read() {
        let Above::Systemd(service) = read("gw.service", SAID) else { panic!() };
        assert_eq!(service.timeout, Some(Duration::from_secs(90)));
        assert!(service.kill_mode == "mixed" && !service.notified);
        assert_eq!(grade(90, &read("gw.service", SAID)), Severity::Ok);
        assert_eq!(grade(91, &read("gw.service", SAID)), Severity::Problem);
        let with = |from: &str, to: &str| read("gw.service", &SAID.replace(from, to));
        assert_eq!(grade(9999, &with("1min 30s", "infinity")), Severity::Ok);
        assert_eq!(grade(1, &with("mixed", "control-group")), Severity::Warning);
        let notified = SAID.replace("simple", "notify").replace("none", "main");
        assert_eq!(grade(91, &read("gw.service", &notified)), Severity::Ok);
        assert!(matches!(with("1min 30s", "soon"), Above::Unknown(_)));
    }

    #[test]
    fn the_unit_is_found_in_both_versions_of_cgroups() {
        for (groups, expected) in [
            ("0::/system.slice/gw.service\n", Some("gw.service")),
            ("0::/system.slice/gw.service/sexton-7\n", Some("gw.service")),
            ("4:pids:/x\n1:name=systemd:/system.slice/gw.service\n0::/\n", Some("gw.service")),
            ("1:name=systemd:/\n0::/system.slice/gw.service\n", Some("gw.service")),
            ("0::/user.slice/user-0.slice/user@0.service/app.slice/gw.service\n", Some("gw.service")),
            ("0::/user.slice/user-0.slice/session-1.scope\n", None),
            ("0::/\n", None),
        ] {
            assert_eq!(unit(groups).as_deref(), expected, "{groups}");
        }
    }

    #[test]
    fn what_the_engine_gives_counts_if_it_is_told() {
        assert_eq!(grade(40, &Above::Container), Severity::Warning);
        assert_eq!(grade(40, &Above::Told(Duration::from_secs(10))), Severity::Problem);
        assert_eq!(grade(40, &Above::Told(Duration::from_secs(40))), Severity::Ok);
        assert_eq!(grade(40, &Above::Nothing), Severity::Ok);
        let advice = &judge(Duration::from_secs(40), &Above::Container)[0].advice;
        assert!(advice.contains("stop_grace_period: 45s"), "{advice}");
    }

    #[test]
    fn all_windows_are_added_up() {
        use sexton::config::StepCommand;
        use sexton::config::value::Step;
        let mut plan = Plan::bare(CompatMode::Native);
        assert_eq!(plan.longest_stop(), Duration::from_secs(37));
        plan.settings.stop_sequence = vec![
            Step(sexton::types::Signal::TERM, Duration::from_secs(20)),
            Step(sexton::types::Signal::INT, Duration::from_secs(5)),
        ];
        assert_eq!(plan.longest_stop(), Duration::from_secs(32));
        plan.before_stop = Some(StepCommand { command: Vec::new(), timeout: Duration::from_secs(12) });
        assert_eq!(plan.longest_stop(), Duration::from_secs(44));
        assert_eq!(drain(&plan, (2026, 9, 6)), []);
        plan.settings.stop_sequence.clear();
        assert_eq!(drain(&plan, (2026, 9, 6)).len(), 1);
        assert_eq!(drain(&plan, (2026, 5, 22)), []);
    }
}
