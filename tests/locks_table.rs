//! What becomes of a lock that an earlier life has left, whatever lives beside it: every cell has its verdict and its
//! proof, written down beforehand.

#![allow(clippy::disallowed_methods, reason = "tests start their own processes and read the clock")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test says so")]

#[path = "locks/container.rs"]
mod container;
#[path = "locks/house.rs"]
mod house;

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use container::Container;
use house::House;

/// What is left behind, by whom, beside whom; and what the next sexton says of it: in the same container, in one that
/// was made anew (another host's name), and after a reboot (another boot id). A proof removes it. `unclear` needs the
/// operator's word, `shared` the end of the other sexton.
///
/// A neighbour without sexton takes nothing away from a proof: they hold against anybody. What no proof can be had for
/// is what its owner has closed, and that says nothing of it but a number.
const TABLE: &str = "
    kind      before  beside  | same     recreated rebooted
    session   sexton  none    | not-open not-open  not-open
    session   sexton  tini    | not-open not-open  not-open
    session   sexton  sexton  | not-open not-open  not-open
    session   tini    none    | not-open not-open  not-open
    session   tini    tini    | not-open not-open  not-open
    session   tini    sexton  | not-open not-open  not-open
    chromium  sexton  none    | witness  witness   witness
    chromium  sexton  tini    | witness  witness   witness
    chromium  sexton  sexton  | shared   shared    shared
    chromium  tini    none    | witness  witness   witness
    chromium  tini    tini    | witness  witness   witness
    chromium  tini    sexton  | shared   shared    shared
    server    sexton  none    | mark     mark      mark
    server    sexton  tini    | mark     mark      mark
    server    sexton  sexton  | shared   shared    shared
    server    tini    none    | socket   socket    socket
    server    tini    tini    | socket   socket    socket
    server    tini    sexton  | shared   shared    shared
    deps      sexton  none    | mark     mark      mark
    deps      sexton  tini    | mark     mark      mark
    deps      sexton  sexton  | shared   shared    shared
    deps      tini    none    | unclear  unclear   unclear
    deps      tini    tini    | unclear  unclear   unclear
    deps      tini    sexton  | shared   shared    shared
    open-pid  sexton  none    | mark     mark      mark
    open-pid  sexton  tini    | mark     mark      mark
    open-pid  sexton  sexton  | shared   shared    shared
    open-pid  tini    none    | unclear  unclear   unclear
    open-pid  tini    tini    | unclear  unclear   unclear
    open-pid  tini    sexton  | shared   shared    shared
    plain-pid sexton  none    | unclear  unclear   unclear
    plain-pid sexton  tini    | unclear  unclear   unclear
    plain-pid sexton  sexton  | shared   shared    shared
    plain-pid tini    none    | unclear  unclear   unclear
    plain-pid tini    tini    | unclear  unclear   unclear
    plain-pid tini    sexton  | shared   shared    shared
    usage     sexton  none    | unclear  unclear   unclear
    usage     sexton  tini    | unclear  unclear   unclear
    usage     sexton  sexton  | shared   shared    shared
    usage     tini    none    | unclear  unclear   unclear
    usage     tini    tini    | unclear  unclear   unclear
    usage     tini    sexton  | shared   shared    shared
";

/// The words of a line of the log that say what was decided.
const WORDS: [(&str, &str); 6] = [
    ("not-open", "no process has it open"),
    ("witness", "no process has the files open that its owner keeps open"),
    ("socket", "no process listens at its owner's socket"),
    ("mark", "sexton has seen its owner alive, which is dead"),
    ("shared", "another sexton uses this root"),
    ("unclear", "the owner may live in another container"),
];

/// Where a lock of each kind lies. `ME` is whose it is: `old` for the life before, `new` for the neighbour.
const PLACES: [(&str, &str); 7] = [
    ("session", "sessions/ME.jsonl.lock"),
    ("chromium", "browser/ME/user-data/SingletonLock"),
    ("server", ".XME-lock"),
    ("deps", "plugin-runtime-deps/.openclaw-runtime-ME.lock"),
    ("open-pid", "run/open-ME.pid"),
    ("plain-pid", "run/plain-ME.pid"),
    ("usage", "agents/ME/sessions/.usage-cost-cache.json.lock"),
];

/// Takes one of each as its owner takes it, and keeps them. The server is another sexton, for its socket.
const TAKE: &str = r#"
    mkdir -p sessions browser/$me/user-data/Default .X11-unix plugin-runtime-deps/.openclaw-runtime-$me.lock run agents/$me/sessions
    start=$(cut -d' ' -f22 /proc/$$/stat)
    exec 3>sessions/$me.jsonl.lock 4>run/open-$me.pid 5>browser/$me/user-data/Default/History
    echo "{\"pid\":$$,\"starttime\":$start}" >&3
    echo $$ >&4
    echo $$ >run/plain-$me.pid
    echo "{\"pid\":$$,\"starttime\":$start}" >plugin-runtime-deps/.openclaw-runtime-$me.lock/owner.json
    echo "{\"pid\":$$,\"startedAt\":5}" >agents/$me/sessions/.usage-cost-cache.json.lock
    ln -s "host-$$" browser/$me/user-data/SingletonLock
    sh -c 'printf "%10d\n" $$ >.X$0-lock; exec "$SEXTON" --no-locks --control .X11-unix/X$0 -- sleep 1000' $me 3>&- 4>&- 5>&- &
    until [ -S .X11-unix/X$me ]; do :; done
"#;

const RULE: &str = "[[locks.rule]]\npath = \".X*-lock\"\nformat = \"pid\"\nsocket = \".X11-unix/X*\"\n";

/// The init of a container, as the words before its command.
fn init(name: &str, house: &House, config: &House) -> Vec<String> {
    let path = |house: &House, name: &str| house.path(name).into_os_string().into_string().unwrap();
    match name {
        "tini" => ["tini", "--"].map(str::to_owned).to_vec(),
        "sexton" => {
            let (config, root) = (path(config, "sexton.toml"), path(house, ""));
            let program = env!("CARGO_BIN_EXE_sexton");
            [program, "--control", "off", "--config", &config, "--lock-root", &root, "--"]
                .map(str::to_owned)
                .to_vec()
        }
        other => panic!("{other} is no init"),
    }
}

/// The log of the next life up to its command's start.
fn next_life(house: &House, config: &House, restart: &str) -> String {
    let init = init("sexton", house, config).into_iter();
    let other_boot = config.path("boot_id");
    fs::write(&other_boot, "00000000-1111-2222-3333-444444444444\n").unwrap();
    let prepare = match restart {
        "same" => "",
        "recreated" => "hostname another-container;",
        "rebooted" => "mount --bind \"$0\" /proc/sys/kernel/random/boot_id;",
        other => panic!("{other} is no restart"),
    };
    let script = format!("{prepare} exec unshare --fork --pid --kill-child --mount-proc -- \"$@\"");
    // The file in /proc is another one in each mount of it, so that the init mounts it by itself.
    let script = if restart == "rebooted" {
        format!(
            "exec unshare --fork --pid --kill-child --mount-proc -- sh -c '{prepare} exec \"$@\"' \"$0\" \"$@\""
        )
    } else {
        script
    };
    let mut command = Command::new("unshare");
    command.args(["--uts", "--mount", "sh", "-c", &script]).arg(&other_boot).args(init).arg("true");
    let output = command.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{log}");
    log
}

/// What was said of the lock at this place, by the first line that names it.
fn said(log: &str, place: &str) -> String {
    let Some(line) = log.lines().find(|line| line.contains(&format!("{place} "))) else {
        return "nothing".to_owned();
    };
    let word =
        WORDS.iter().find(|(_, words)| line.contains(words)).map_or("something else", |(word, _)| word);
    let is_removed = line.contains("lock-removed");
    assert_eq!(is_removed, !matches!(word, "shared" | "unclear" | "something else"), "{line}");
    word.to_owned()
}

fn column(restart: &str) -> usize {
    ["same", "recreated", "rebooted"].iter().position(|one| *one == restart).unwrap()
}

/// Every cell of one column, in one run for each pair of life before and neighbour.
fn compare(restart: &str) {
    let what = format!("the table of locks, {restart}");
    if !house::is_root(&what) || !house::there_is("tini", has_tini(), &what) {
        return;
    }
    let mut wrong = String::new();
    let mut cells = 0;
    for before in ["sexton", "tini"] {
        for beside in ["none", "tini", "sexton"] {
            let house = House::new();
            let config = House::beside(&house);
            config.put("sexton.toml", RULE);
            let start = |name: &str, me: &str, then: &str| {
                let script = format!("me={me}\n{TAKE}\n{then}\necho up; read -r _; kill $!");
                Container::below(&house, &init(name, &house, &config), &script)
            };
            let mut neighbour = (beside != "none").then(|| start(beside, "new", ""));
            start(before, "old", if before == "sexton" { "until_marked 3" } else { "" }).kill();
            let log = next_life(&house, &config, restart);
            assert!(neighbour.as_mut().is_none_or(Container::is_alive));
            for (kind, place) in PLACES {
                let row = TABLE.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
                let row = row.into_iter().find(|row| row.starts_with(&[kind, before, beside])).unwrap();
                let expected = row[4 + column(restart)];
                let said = said(&log, &place.replace("ME", "old"));
                cells += 1;
                if said != expected {
                    writeln!(wrong, "{kind} {before} {beside}: {said}, and not {expected}").unwrap();
                }
                // Whatever is said of the dead: what lives stays.
                let stays = beside == "none" || house.has(place.replace("ME", "new"));
                assert!(stays, "{kind} {before} {beside}: a live lock was removed: {log}");
            }
            assert!(wrong.is_empty(), "{wrong}{log}");
        }
    }
    assert_eq!(cells, PLACES.len() * 6);
}

fn has_tini() -> bool {
    let found = Command::new("tini").arg("--version").output();
    found.is_ok_and(|output| output.status.success())
}

#[test]
fn in_the_same_container() {
    compare("same");
}

#[test]
fn in_a_container_that_was_made_anew() {
    compare("recreated");
}

#[test]
fn after_a_reboot() {
    compare("rebooted");
}

#[test]
fn the_table_has_a_row_for_everything() {
    let rows = TABLE.lines().filter(|line| line.contains('|')).count() - 1;
    assert_eq!(rows, PLACES.len() * 2 * 3);
}
