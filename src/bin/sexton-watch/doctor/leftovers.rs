//! What is left of an earlier gateway: on the port, or running with no sexton above it.

use std::collections::BTreeSet;
use std::fs;

use sexton::config::Plan;
use sexton::config::watch_settings::ProbeKind;
use sexton::control::protocol::Status;
use sexton::os::procfs::{self, Stat};
use sexton::os::{process, tree};
use sexton::types::Pid;

use super::finding::Finding;
use super::gateway::command;
use crate::openclaw;

/// Who listens on a port of the gateway's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listener {
    port: u16,
    /// Its pid and name, where /proc shows it.
    who: Option<(i32, String)>,
    /// It is below the sexton that runs.
    ours: bool,
}

/// Looks at the ports that are asked for health, and for gateways without a sexton.
pub fn check(plan: &Plan, status: Option<&Status>) -> Vec<Finding> {
    let all = procfs::all().unwrap_or_default();
    let sexton = status.and_then(|status| Pid::new(status.pid));
    // What is below a sexton that does not answer is no leftover either.
    let roots = sexton.map_or_else(|| sextons(&all), |sexton| vec![sexton]);
    let below = tree::descending_from(&roots, &all);
    let mut found = Vec::new();
    for port in ports(plan) {
        let who = listener(port, &all);
        let ours = who
            .as_ref()
            .is_some_and(|who| who.as_ref().map_or(!roots.is_empty(), |stat| below.contains(&stat.pid)));
        if let Some(who) = who {
            let who = who.map(|stat| (stat.pid.raw(), name(stat)));
            found.extend(judge(&Listener { port, who, ours }, sexton.is_some()));
        }
    }
    if openclaw::command_line(&command(plan)).is_some() {
        found.extend(judge_strays(&orphan_processes(&all)));
    }
    if found.is_empty() {
        found.push(Finding::ok(
            "leftovers",
            "no gateway runs that has no sexton, and none holds a port of this one's",
        ));
    }
    found
}

fn name(stat: &Stat) -> String {
    String::from_utf8_lossy(&stat.name).into_owned()
}

/// The ports of this machine that the probes ask.
fn ports(plan: &Plan) -> BTreeSet<u16> {
    let probes = plan.watching.iter().flat_map(|watching| &watching.health);
    let ports = probes.filter_map(|probe| {
        let address = match &probe.ask {
            ProbeKind::Http { url, .. } => url.strip_prefix("http://")?.split('/').next()?,
            ProbeKind::Tcp { address } => address,
            ProbeKind::Heartbeat { .. } | ProbeKind::Command { .. } => return None,
        };
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "80"));
        matches!(host, "localhost" | "[::1]").then_some(()).or(host.starts_with("127.").then_some(()))?;
        port.parse().ok()
    });
    ports.collect()
}

/// The process that listens on this port. `None` if there is none, `Some(None)` if there is one that cannot be seen.
fn listener(port: u16, all: &[Stat]) -> Option<Option<&Stat>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inodes: Vec<String> = tables.iter().flat_map(|table| inodes(table, port)).collect();
    if inodes.is_empty() {
        return None;
    }
    let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let has = |stat: &&Stat| {
        let entries = fs::read_dir(format!("/proc/{}/fd", stat.pid)).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|link| link.to_str().is_some_and(|link| sockets.iter().any(|socket| socket == link)))
    };
    // If several processes share the socket, the oldest one has made it.
    Some(all.iter().filter(has).min_by_key(|stat| stat.start))
}

/// The sockets of a table of /proc/net/tcp's form that listen on this port (proc_net(5)).
fn inodes(table: &str, port: u16) -> Vec<String> {
    let lines = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?.rsplit_once(':')?.1;
        let listens = *fields.get(3)? == "0A" && u16::from_str_radix(local, 16) == Ok(port);
        listens.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    });
    lines.collect()
}

fn judge(listener: &Listener, sexton_runs: bool) -> Option<Finding> {
    let Listener { port, who, ours } = listener;
    if *ours {
        return None;
    }
    let who = who
        .as_ref()
        .map_or("a process that cannot be seen".to_owned(), |(pid, name)| format!("pid {pid}, {name},"));
    Some(if sexton_runs {
        Finding::problem(
            "leftovers",
            format!(
                "port {port} is held by {who} which is not below sexton: the gateway that answers is another one"
            ),
            "Stop it, or give this gateway another port",
        )
    } else {
        Finding::problem(
            "leftovers",
            format!("port {port} is held by {who} with no sexton above: the next start would not get it"),
            "Stop it first; below sexton nothing would have been left",
        )
    })
}

fn sextons(all: &[Stat]) -> Vec<Pid> {
    all.iter().filter(|stat| stat.name == b"sexton").map(|stat| stat.pid).collect()
}

/// OpenClaw gateways that run below no sexton.
fn orphan_processes(all: &[Stat]) -> Vec<&Stat> {
    let managed = tree::descending_from(&sextons(all), all);
    let us = process::own_pid();
    // The name has at most 15 bytes; the command line's own runs are called openclaw too, and are over soon.
    let is_one =
        |stat: &&Stat| matches!(stat.name.as_slice(), b"openclaw-gatewa" | b"openclaw") && !stat.is_dead();
    all.iter().filter(is_one).filter(|stat| !managed.contains(&stat.pid) && stat.pid != us).collect()
}

fn judge_strays(orphan_processes: &[&Stat]) -> Option<Finding> {
    let first = orphan_processes.first()?;
    let what = match orphan_processes.len() {
        1 => format!("{}, pid {}, runs with no sexton above it", name(first), first.pid),
        number => format!(
            "{number} gateways run with no sexton above them, {}, pid {}, first",
            name(first),
            first.pid
        ),
    };
    Some(Finding::warning(
        "leftovers",
        what,
        "If it is an earlier gateway, stop it: two of them fight over locks",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        \x20  0: 0100007F:4965 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0\n\
        \x20  1: 0100007F:4965 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0 100 0 0 10 0\n";

    #[test]
    fn only_who_listens_counts() {
        assert_eq!(inodes(TABLE, 18789), ["4711"]);
        assert_eq!(inodes(TABLE, 18790), Vec::<String>::new());
    }

    #[test]
    fn a_port_of_somebody_else_is_a_problem() {
        let of = |ours| Listener { port: 1, who: Some((7, "node".into())), ours };
        assert_eq!(judge(&of(true), true), None);
        assert_eq!(judge(&of(false), true).unwrap().grade, Severity::Problem);
        assert!(judge(&of(false), false).unwrap().what.contains("pid 7, node, with no sexton above"));
    }
}
