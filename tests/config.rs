//! The configuration file: where it is found, what wins over it, and what is said of one that is wrong.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failure must be loud")]
#![allow(clippy::disallowed_methods, reason = "tests start processes")]

mod common;

use std::fs;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{PATIENCE, root, sexton, skip};
use serde_json::{Value, json};

/// A folder for one test, with nothing in the environment but what is put there.
struct Folder {
    directory: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Folder {
    fn new() -> Folder {
        Folder { directory: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    fn set(mut self, name: &str, value: &str) -> Folder {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(sexton());
        command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.directory.path()).env("TMPDIR", self.directory.path());
        command.envs(self.variables.iter().cloned()).current_dir(self.directory.path());
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// The exit code, standard output and standard error.
    fn said(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let output = self.run(words);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// The plan, as `sexton check --json` has it.
    fn plan(&self, options: &[&str], file: Option<&str>) -> Value {
        let mut words = options.to_vec();
        let path = file.map(|text| self.put("plan.toml", text).to_str().unwrap().to_owned());
        words.extend(path.iter().flat_map(|path| ["--config", path]));
        words.extend(["check", "--json", "--", "run-me"]);
        let (code, plan, error) = self.said(&words);
        assert_eq!((code, error.as_str()), (Some(0), ""), "{words:?}");
        serde_json::from_str(&plan).unwrap()
    }
}

fn system_file() -> bool {
    let there = Path::new("/etc/sexton/sexton.toml").exists();
    if there {
        skip("a machine without /etc/sexton/sexton.toml", "it would be read here");
    }
    there
}

/// A file, the line and the key that are wrong, and the mend.
const BROKEN: [(&str, usize, &str, &str); 10] = [
    ("[restart]\non = \"always\"\nlimmit = 3\n", 3, "restart.limmit", "did you mean 'limit'?"),
    ("grace = 30\n", 1, "grace", "a duration such as \"500ms\", \"30s\" or \"2m\""),
    ("\n[tools]\ntimeout = \"soon\"\n", 3, "tools.timeout", "a duration such as"),
    ("stop_signals = [\"TERM\", \"SIGNOPE\"]\n", 1, "stop_signals[2]", "give a name such as TERM"),
    ("command = \"openclaw gateway\"\n", 1, "command", "[\"openclaw\", \"gateway\", \"run\"]"),
    ("[locks]\naction = \"delete\"\n", 2, "locks.action", "remove, hand-over"),
    ("[limits]\nmemory = \"lots\"\n", 2, "limits.memory", "a size such as \"1500M\""),
    ("[health]\nurl = \"https://127.0.0.1/\"\n", 2, "health.url[1]", "http://127.0.0.1:18789/healthz"),
    (
        "[units.a]\ncommand = [\"a\"]\nafter = [\"b\"]\n[units.b]\ncommand = [\"b\"]\nafter = [\"a\"]\n",
        1,
        "units.a",
        "a after b after a; take one 'after' or 'before' out",
    ),
    ("[watch]\nlisten = \"9464\"\n", 2, "watch.listen", "127.0.0.1:9464"),
];

#[test]
fn a_broken_file_is_refused_in_one_line_with_its_place_its_key_and_the_mend() {
    for (text, line, key, mend) in BROKEN {
        let folder = Folder::new();
        let path = folder.put("broken.toml", text).to_str().unwrap().to_owned();
        for words in [
            &["check", "--config", &path][..],
            &["check", "--json", "--config", &path, "--", "touch", "started"],
            &["--config", &path, "--", "touch", "started"],
            &["--config", &path, "locks"],
        ] {
            let (code, out, error) = folder.said(words);
            assert_eq!((code, out.as_str()), (Some(125), ""), "{words:?}: {error}");
            let place = format!("sexton: the configuration file {path}, line {line}, column ");
            assert!(error.starts_with(&place), "{error}");
            assert!(error.contains(&format!(": {key}")) && error.contains(mend), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        assert!(!folder.directory.path().join("started").exists(), "{text}");
    }
}

/// A setting that can be said in several places: its key, its flag, its variable, what the file says, and what
/// comes of each in turn, of the preset, and of nothing.
struct Setting {
    key: &'static str,
    flag: &'static [&'static str],
    variable: (&'static str, &'static str),
    file: &'static str,
    from_flag: Value,
    from_variable: Value,
    from_file: Value,
    preset: Value,
    default: Value,
}

fn settings() -> Vec<Setting> {
    let row = |key, flag, variable, file, values: Value| {
        let value = |index: usize| values[index].clone();
        let (from_flag, from_variable, from_file) = (value(0), value(1), value(2));
        Setting {
            key,
            flag,
            variable,
            file,
            from_flag,
            from_variable,
            from_file,
            preset: value(3),
            default: value(4),
        }
    };
    vec![
        row(
            "/grace",
            &["--grace", "1s"],
            ("SEXTON_GRACE", "2s"),
            "grace = '3s'",
            json!(["1s", "2s", "3s", "5m 30s", "30s"]),
        ),
        row(
            "/kill_after",
            &["--kill-after", "1s"],
            ("SEXTON_KILL_AFTER", "2s"),
            "kill_after = '3s'",
            json!(["1s", "2s", "3s", "5s", "5s"]),
        ),
        row(
            "/group",
            &["-g"],
            ("SEXTON_GROUP", "0"),
            "group = true",
            json!([true, false, true, false, false]),
        ),
        row(
            "/rewrite",
            &["--rewrite", "USR1:USR2"],
            ("SEXTON_REWRITE", "USR1:0"),
            "rewrite = ['HUP:QUIT']",
            json!([["SIGUSR1:SIGUSR2"], ["SIGUSR1:0"], ["SIGHUP:SIGQUIT"], ["SIGHUP:SIGTERM"], null]),
        ),
        row(
            "/delay",
            &["--delay", "TERM=1s"],
            ("SEXTON_DELAY", "TERM=2s"),
            "delay = ['TERM=3s']",
            json!([["SIGTERM=1s"], ["SIGTERM=2s"], ["SIGTERM=3s"], null, null]),
        ),
        row(
            "/stop_signals",
            &["--stop-signal", "QUIT"],
            ("SEXTON_STOP_SIGNAL", "USR1"),
            "stop_signals = ['USR2']",
            json!([
                ["SIGQUIT"],
                ["SIGUSR1"],
                ["SIGUSR2"],
                ["SIGHUP", "SIGINT", "SIGTERM", "SIGRTMIN+3"],
                null
            ]),
        ),
        row(
            "/stop_sequence",
            &["--stop-sequence", "TERM:1s"],
            ("SEXTON_STOP_SEQUENCE", "TERM:2s"),
            "stop_sequence = ['TERM:3s']",
            json!([["SIGTERM:1s"], ["SIGTERM:2s"], ["SIGTERM:3s"], null, null]),
        ),
        row(
            "/wait",
            &["--wait", "main"],
            ("SEXTON_WAIT", "main"),
            "wait = 'all'",
            json!(["main", "main", "all", "main", "main"]),
        ),
        row(
            "/remap_exit",
            &["-e", "1"],
            ("SEXTON_REMAP_EXIT", "2"),
            "remap_exit = [3]",
            json!([[1], [2], [3], null, null]),
        ),
        row(
            "/parent_death",
            &["-p", "INT"],
            ("SEXTON_PARENT_DEATH", "QUIT"),
            "parent_death = 'HUP'",
            json!(["SIGINT", "SIGQUIT", "SIGHUP", null, null]),
        ),
        row(
            "/warn_reaped",
            &["-w"],
            ("SEXTON_WARN_REAPED", "no"),
            "warn_reaped = true",
            json!([true, false, true, false, false]),
        ),
        row(
            "/log",
            &["--log", "error"],
            ("SEXTON_LOG", "info"),
            "log = 'debug'",
            json!(["error", "info", "debug", "warn", "warn"]),
        ),
        row(
            "/log_format",
            &["--log-format", "text"],
            ("SEXTON_LOG_FORMAT", "text"),
            "log_format = 'json'",
            json!(["text", "text", "json", "text", "text"]),
        ),
        row(
            "/control",
            &["--control", "off"],
            ("SEXTON_CONTROL", "/b"),
            "control = '/c'",
            json!(["off", "/b", "/c", null, null]),
        ),
        row(
            "/tools/shell",
            &["--tool-shell"],
            ("SEXTON_TOOL_SHELL", "0"),
            "tools.shell = true",
            json!([true, false, true, true, false]),
        ),
        row(
            "/locks/enabled",
            &["--no-locks"],
            ("SEXTON_NO_LOCKS", "0"),
            "locks.enabled = false",
            json!([false, true, false, true, true]),
        ),
        row(
            "/locks/roots",
            &["--lock-root", "/a"],
            ("SEXTON_LOCK_ROOTS", "/b"),
            "locks.roots = ['/c']",
            json!([["/a"], ["/b"], ["/c"], null, null]),
        ),
        row(
            "/locks/action",
            &["--lock-action", "remove"],
            ("SEXTON_LOCK_ACTION", "remove"),
            "locks.action = 'hand-over'",
            json!(["remove", "remove", "hand-over", "remove", "remove"]),
        ),
        row(
            "/locks/sweep_timeout",
            &["--sweep-timeout", "1s"],
            ("SEXTON_SWEEP_TIMEOUT", "2s"),
            "locks.sweep_timeout = '3s'",
            json!(["1s", "2s", "3s", "5s", "5s"]),
        ),
        row(
            "/locks/start_window",
            &["--start-window", "1m"],
            ("SEXTON_START_WINDOW", "2m"),
            "locks.start_window = '3m'",
            json!(["1m", "2m", "3m", "5m", "5m"]),
        ),
        row(
            "/locks/report_after",
            &["--lock-report-after", "1m"],
            ("SEXTON_LOCK_REPORT_AFTER", "2m"),
            "locks.report_after = '3m'",
            json!(["1m", "2m", "3m", "30m", null]),
        ),
    ]
}

#[test]
fn every_option_of_a_setting_is_tried() {
    let tried: Vec<&str> = settings().iter().map(|setting| setting.flag[0]).collect();
    let command = sexton::cli::command();
    for option in command.get_arguments() {
        let Some(long) = option.get_long().map(|long| format!("--{long}")) else { continue };
        let letter = option.get_short().map(|letter| format!("-{letter}"));
        // The two that name other settings are tried below; and the texts are not a setting.
        if !["--config", "--preset", "--help", "--version"].contains(&&*long) {
            let found = tried.iter().any(|flag| *flag == long || letter.as_deref() == Some(flag));
            assert!(found, "{long} needs a row among the settings above");
        }
    }
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_preset_over_the_default() {
    if system_file() {
        return;
    }
    for Setting { key, flag, variable, file, from_flag, from_variable, from_file, preset, default } in
        settings()
    {
        let value = |folder: &Folder, options: &[&str], file: Option<&str>| {
            folder.plan(options, file).pointer(key).cloned().unwrap_or(Value::Null)
        };
        let over = format!("preset = 'openclaw'\n{file}\n");
        let with_variable = Folder::new().set(variable.0, variable.1);
        let plain = Folder::new();
        assert_eq!(value(&with_variable, flag, Some(&over)), from_flag, "{key}: the flag");
        assert_eq!(value(&with_variable, &[], Some(&over)), from_variable, "{key}: the variable");
        assert_eq!(value(&plain, flag, Some(&over)), from_flag, "{key}: the flag without the variable");
        assert_eq!(value(&plain, &[], Some(&over)), from_file, "{key}: the file");
        assert_eq!(value(&plain, &[], Some("preset = 'openclaw'")), preset, "{key}: the preset");
        assert_eq!(value(&plain, &["--preset", "openclaw"], None), preset, "{key}: the preset's flag");
        assert_eq!(
            value(&Folder::new().set("SEXTON_PRESET", "openclaw"), &[], None),
            preset,
            "{key}: its variable"
        );
        assert_eq!(value(&plain, &[], None), default, "{key}: the default");
    }
}

#[test]
fn what_check_prints_is_a_file_that_makes_the_same_plan() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/config/sexton.toml");
    let folder = Folder::new();
    let json = |path: &str| -> Value {
        let (code, text, error) = folder.said(&["check", "--json", "--config", path]);
        assert_eq!((code, error.as_str()), (Some(0), ""));
        let mut plan: Value = serde_json::from_str(&text).unwrap();
        plan.as_object_mut().unwrap().remove("found");
        plan
    };
    let (code, text, error) = folder.said(&["check", "--config", example]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert!(text.starts_with(&format!("# configuration file: {example}\n# preset: openclaw\n")), "{text}");
    assert!(text.contains("# order of start: gateway, proxy, worker\n"), "{text}");
    let again = folder.put("again.toml", &text).to_str().unwrap().to_owned();
    assert_eq!(json(&again), json(example));
    let (_, third, _) = folder.said(&["check", "--config", &again]);
    let settings = |text: &str| {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(settings(&third), settings(&text));
    // Without a command the file is still worth a check: an image's CMD may name it.
    let (code, text, error) =
        folder.said(&["check", "--config", folder.put("none.toml", "").to_str().unwrap()]);
    assert!(code == Some(0) && !text.contains("command"), "{text}{error}");
}

#[test]
fn a_projects_file_is_read_when_nothing_else_says_what_to_run() {
    if system_file() {
        return;
    }
    let folder = Folder::new();
    folder.put("sexton.toml", "command = ['sh', '-c', 'echo project; exit 7']\n");
    let (code, out, _) = folder.said(&[]);
    assert_eq!((code, out.as_str()), (Some(7), "project\n"));
    let (_, _, log) = folder.said(&["-v"]);
    assert!(log.contains("config-loaded: settings come from sexton.toml path=sexton.toml"), "{log}");
    let (code, out, _) = folder.said(&["check"]);
    assert!(code == Some(0) && out.contains("echo project"), "{out}");
    // A command is what it is, whatever lies about.
    folder.put("sexton.toml", "broken");
    assert_eq!(folder.said(&["--", "echo", "given"]).1, "given\n");
    assert_ne!(folder.said(&["locks"]).0, Some(125));
    assert_eq!(folder.said(&[]).0, Some(125));
    let other = folder.put("other.toml", "command = ['echo', 'other']\ngrace = '9s'\n");
    let other = other.to_str().unwrap();
    assert_eq!(folder.said(&["--config", other]).1, "other\n");
    assert_eq!(folder.said(&["--config", other, "--", "echo", "given"]).1, "given\n");
    // A name that is empty stands for no file.
    folder.put("sexton.toml", "command = ['echo', 'project']\n");
    assert_eq!(folder.said(&["--config", ""]).0, Some(125));
    let (code, _, error) = folder.said(&["--config", "missing.toml", "--", "true"]);
    assert!(code == Some(125) && error.contains("missing.toml cannot be read"), "{error}");
}

#[test]
fn a_projects_file_of_somebody_else_decides_nothing() {
    if system_file() {
        return;
    }
    if !root() {
        return skip("root", "to give a file to another user");
    }
    let folder = Folder::new();
    let path = folder.put("sexton.toml", "command = ['echo', 'theirs']\n");
    std::os::unix::fs::chown(&path, Some(1000), Some(1000)).unwrap();
    let (code, out, error) = folder.said(&[]);
    assert_eq!((code, out.as_str()), (Some(125), ""));
    assert!(error.contains("belongs to uid 1000") && error.contains("--config sexton.toml"), "{error}");
    assert_eq!(folder.said(&["--config", "sexton.toml"]).1, "theirs\n");
}

#[test]
fn a_program_with_a_subcommands_name_runs_behind_two_dashes() {
    let folder = Folder::new();
    let bin = folder.directory.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let folder = folder.set("PATH", &path);
    for name in ["check", "locks", "tool"] {
        std::os::unix::fs::symlink("/bin/echo", bin.join(name)).unwrap();
        assert_eq!(folder.said(&["--", name, "it", "ran"]).1, "it ran\n");
        let (code, help, _) = folder.said(&[name, "--help"]);
        assert!(code == Some(0) && help.contains(&format!("sexton -- {name}")), "{help}");
        assert!(help.lines().all(|line| line.len() <= 80), "{help}");
    }
}

#[test]
fn a_file_bounds_a_stop_under_tinis_name_too() {
    let folder = Folder::new();
    let file = folder.put("sexton.toml", "grace = '200ms'\nkill_after = '200ms'\n");
    let tini = folder.directory.path().join("tini");
    std::os::unix::fs::symlink(sexton(), &tini).unwrap();
    let mut command = Command::new(tini);
    command.args(["-s", "--", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]);
    let mut child =
        command.env("SEXTON_CONFIG", file).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let end = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = child.try_wait().unwrap();
    let _ = child.kill();
    assert_eq!(ended.and_then(|status| status.code()), Some(137), "without a bound it waits for ever");
}

/// A stand-in for OpenClaw that is installed as npm does it, a link in PATH into the package, and that updates itself
/// between its first start and its second.
fn installed(folder: Folder, version: &str, updates_to: &str) -> Folder {
    let root = folder.directory.path().to_owned();
    let package = root.join("lib/openclaw");
    fs::create_dir_all(&package).unwrap();
    fs::create_dir(root.join("bin")).unwrap();
    let described = |version: &str| format!(r#"{{"name":"openclaw","version":"{version}"}}"#);
    fs::write(package.join("package.json"), described(version)).unwrap();
    let script = format!(
        "#!/bin/sh\necho \"respawn=$OPENCLAW_NO_RESPAWN\"\n[ -e updated ] && exit 0\n\
         touch updated\necho '{}' >{}/package.json\nexit 1\n",
        described(updates_to),
        package.display()
    );
    fs::write(package.join("openclaw.mjs"), script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(package.join("openclaw.mjs"), mode).unwrap();
    std::os::unix::fs::symlink("../lib/openclaw/openclaw.mjs", root.join("bin/openclaw")).unwrap();
    let path = format!("{}:{}", root.join("bin").display(), std::env::var("PATH").unwrap());
    folder.set("PATH", &path)
}

#[test]
fn the_version_that_is_installed_chooses_the_settings_at_each_start() {
    let folder = installed(Folder::new(), "2026.7.30", "2026.10.1");
    let (_, plan, _) = folder.said(&["--preset", "openclaw", "check", "--", "openclaw", "gateway"]);
    let found = |line: &str| assert!(plan.contains(line), "{line}: {plan}");
    found("# gateway version: 2026.7.30, by /");
    found("# settings by version: <= 2026.7: it allows itself 25 s");
    found("grace = \"30s\"");
    found("OPENCLAW_NO_RESPAWN = \"1\"");
    // What the operator says wins over every version.
    let own = folder
        .put("own.toml", "preset = 'openclaw'\n[restart]\non = 'on-failure'\ndelay = '1ms'\nlimit = 7\n");
    let (code, out, log) =
        folder.said(&["-v", "--no-locks", "--config", own.to_str().unwrap(), "--", "openclaw", "gateway"]);
    assert_eq!((code, out.as_str()), (Some(0), "respawn=1\nrespawn=\n"), "{log}");
    assert!(log.contains("the gateway's settings are those for <= 2026.7"), "{log}");
    let newer = "the gateway's settings are those for 2026.9.5+";
    let newest = log.lines().filter(|line| line.contains(newer)).collect::<Vec<_>>();
    assert!(newest.len() == 1 && newest[0].contains("newer than those that were tried"), "{log}");
    let (_, plan, _) =
        folder.said(&["--config", own.to_str().unwrap(), "check", "--json", "--", "openclaw", "gateway"]);
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!((&plan["grace"], &plan["restart"]["limit"]), (&json!("5m 30s"), &json!(7)));
    assert_eq!(plan["restart"]["interval"], "5m", "of the version's row");
}

#[test]
fn a_package_that_cannot_be_read_holds_no_start_up() {
    let folder = installed(Folder::new(), "2026.9.6", "2026.9.6");
    let package = folder.directory.path().join("lib/openclaw/package.json");
    fs::remove_file(&package).unwrap();
    nix::unistd::mkfifo(&package, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let began = Instant::now();
    let words = ["--preset", "openclaw", "--no-locks", "--", "openclaw", "gateway"];
    fs::write(folder.directory.path().join("updated"), "").unwrap();
    let (code, out, log) = folder.said(&words);
    assert_eq!((code, out.as_str()), (Some(0), "respawn=\n"), "{log}");
    let unknown = log.lines().filter(|line| line.contains("unknown, as the command does not tell")).count();
    assert_eq!(unknown, 1, "{log}");
    assert!(began.elapsed() < PATIENCE);
}
