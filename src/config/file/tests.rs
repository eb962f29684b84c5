//! What a file says, what is refused in it, and the schema.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::Control;
use crate::config::setting::Table;
use crate::locks::Action;
use crate::locks::format::Format;
use crate::supervisor::RestartOn;

const EXAMPLE: &str = include_str!("../../../packaging/config/sexton.toml");
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/config/sexton.schema.json");

fn read_in(text: &str, variables: &[(&str, &str)]) -> Result<File, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sexton.toml");
    fs::write(&path, text).unwrap();
    let variable =
        |name: &str| variables.iter().find(|(one, _)| *one == name).map(|(_, value)| OsString::from(value));
    let around = LoadContext {
        preset: None,
        command: &[],
        variable: &variable,
        owner: None,
        files: &FileAccess::Direct,
        package: &|_, _, _| None,
    };
    let here = path.display().to_string();
    File::read(Some(&path), &around)
        .map(|file| *file)
        .map_err(|refused| refused.to_string().replace(&here, "FILE"))
}

fn read(text: &str) -> Result<File, String> {
    read_in(text, &[])
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn nothing_is_said_by_an_empty_file() {
    let without = |text: &str| {
        let mut file = read(text).unwrap();
        file.origin.file = None;
        format!("{file:?}")
    };
    assert_eq!(without("# Nothing."), without(""), "what is not read at all says the same");
    let file = read("").unwrap();
    assert_eq!((&file.given, file.locks.rules.len()), (&Given::default(), 0));
    assert_eq!((file.watching, file.restart), (WatchSettings::default(), Restart::default()));
}

#[test]
fn the_example_says_what_it_says() {
    let file = read(EXAMPLE).unwrap();
    assert_eq!(file.given.lock_root, Some(vec!["/data".into()]));
    assert_eq!(file.given.lock_action, Some(Action::Remove));
    assert_eq!(file.given.lock_report_after, Some(Some(secs(1800))));
    let [rule, _, soft] = file.locks.rules.as_slice() else { panic!("{:?}", file.locks.rules) };
    let (_, kind) = rule.kind().unwrap();
    assert_eq!(kind.name, "worker");
    assert!(kind.keeps_open && matches!(&kind.format, Format::Json(keys) if keys.pid == "owner.pid"));
    // A kind of the catalogue in another place.
    let (_, kind) = soft.kind().unwrap();
    assert!(kind.name == "softfilelock" && kind.keeps_open && kind.format == Format::FirstLine);
    assert_eq!(file.locks.kinds, ["xvfb", "dbus"]);
    assert_eq!(read("[locks]\nkinds = 'auto'").unwrap().locks.kinds, ["auto"]);
    let units: Vec<_> = file.units.iter().map(|unit| (&*unit.name, unit.after_gateway)).collect();
    assert_eq!(units, [("proxy", true), ("worker", true)]);
    assert_eq!(file.restart.on, RestartOn::Failure);
    assert_eq!(file.watching.limits.memory, Some(1500 << 20));
    assert_eq!(file.watching.health.len(), 5);
    assert_eq!(file.given.control, Some(Control::At("/run/sexton/control.sock".into())));
    assert!(file.replace_on.is_empty() && file.given.tool_shell == Some(true));
}

#[test]
fn actions_name_the_conditions_that_replace_the_command() {
    for (text, kinds) in [
        ("[health]\ntcp = 'a:1'\naction = 'restart'", &[IncidentKind::Unhealthy][..]),
        ("[limits]\nmemory = '1G'\naction = 'restart'", &[IncidentKind::Memory]),
        (
            "[limits]\nzombies = 3\nmemory = 7\naction = 'restart'",
            &[IncidentKind::Memory, IncidentKind::Zombies],
        ),
        ("[locks]\nheld_too_long = 'restart'", &[IncidentKind::LockHeld]),
        ("[logs.a]\nfiles = 'a'\npattern = 'b'\naction = 'restart'", &[IncidentKind::Log]),
        ("[logs.a]\nfiles = 'a'\npattern = 'b'", &[]),
    ] {
        assert_eq!(read(text).unwrap().replace_on, kinds, "{text}");
    }
}

#[test]
fn nothing_is_watched_unless_something_is_asked_for() {
    for text in ["", "[watch]", "[health]", "[locks]\nreport_after = '1h'", "[health]\ninterval = '9s'"] {
        assert_eq!(read(text).unwrap().watching, WatchSettings::default(), "{text}");
    }
    for text in ["[watch]\nlisten = '[::]:1'", "[limits]", "[locks]\nheld_too_long = 'report'"] {
        assert_eq!(read(text).unwrap().watching.limits.interval, secs(10), "{text}");
    }
}

#[test]
fn a_file_is_laid_over_its_preset_value_by_value() {
    let plain = read("preset = 'openclaw'").unwrap();
    assert_eq!(
        (plain.preset.grace, plain.restart.prevent_exit_codes.as_slice(), plain.restart.on),
        (Some(secs(330)), &[78][..], RestartOn::Never)
    );
    assert_eq!(plain.env, []);
    assert!(
        plain.preset.tool_shell == Some(true) && plain.tools.timeout.is_none() && plain.tools.end_orphans
    );
    assert_eq!((plain.watching.start_period, plain.watching.health.len()), (secs(180), 2));
    assert!(
        plain.replace_on.is_empty() && plain.watching.listen.is_none() && plain.given == Given::default()
    );
    assert_eq!(plain.origin.preset.as_deref(), Some("openclaw"));
    let over = "preset = 'openclaw'\ngrace = '330s'\n[restart]\non = 'always'\n[env]\nX = 'y'\n\
                [logs.mine]\nfiles = 'a'\npattern = 'b'\n[health]\nurl = 'http://h/'\n";
    let over = read(over).unwrap();
    assert_eq!(
        (over.given.grace, over.restart.prevent_exit_codes.as_slice(), over.restart.on),
        (Some(secs(330)), &[78][..], RestartOn::Always)
    );
    assert_eq!((over.env.len(), over.watching.logs.len(), over.watching.health.len()), (1, 3, 1));
    assert_eq!(over.watching.start_period, secs(180));
    let set = read_in("preset = 'openclaw'", &[("OPENCLAW_NO_RESPAWN", "")]).unwrap();
    assert_eq!(set.env, [], "the operator has set it");
    let both =
        read_in("preset = 'openclaw'\n[env]\nOPENCLAW_NO_RESPAWN = '0'", &[("OPENCLAW_NO_RESPAWN", "")])
            .unwrap();
    assert_eq!(both.env, [("OPENCLAW_NO_RESPAWN".into(), "0".into())], "a file's own value is an order");
}

/// The text, the line and column, and what is said of them.
const BROKEN: &[(&str, (usize, usize), &str)] = &[
    ("[locks]\nroot = []\n", (2, 1), "locks.root is not known; did you mean 'roots'?"),
    ("[lock]\n", (1, 2), "lock is not known; did you mean 'locks'?"),
    ("xyzzy = 1\n", (1, 1), "xyzzy is not known; there is: preset, command"),
    ("[restart]\n  limmit = 3", (2, 3), "restart.limmit is not known; did you mean 'limit'?"),
    ("stop-signals = []", (1, 1), "stop-signals is not known; did you mean 'stop_signals'?"),
    (
        "\n\n[locks]\nreport_after = \"soon\"\n",
        (4, 16),
        "locks.report_after: 'soon' is not a duration such as",
    ),
    ("grace = 30", (1, 9), "grace is integer `30`, and has to be a duration such as \"500ms\", \"30s\""),
    ("[locks]\naction = \"keep\"\n", (2, 10), "locks.action cannot be 'keep'; there is: remove, hand-over"),
    (
        "[[locks.rule]]\npath = \"../x\"\nformat = \"pid\"\n",
        (2, 1),
        "locks.rule[1].path: '../x' has to be a path",
    ),
    (
        "[[locks.rule]]\npath = \"x\"\nformat = \"pid\"\nsocket = \"../x\"\n",
        (4, 1),
        "locks.rule[1].socket: '../x' has to be a path below the lock's directory",
    ),
    (
        "[[locks.rule]]\npath = \"x\"\nformat = \"pid\"\nsocket = \"x*\"\n",
        (4, 1),
        "locks.rule[1].socket: 'x*' has to be a path below the lock's directory",
    ),
    (
        "[[locks.rule]]\npath = \"x\"\n",
        (1, 1),
        "locks.rule[1].format: it is missing; write how the lock is written, or with 'kind' whose it is",
    ),
    (
        "[locks]\nkinds = [\"dbus\", \"xvbf\"]\n",
        (2, 18),
        "locks.kinds[2]: there is no kind 'xvbf'; did you mean 'xvfb'?",
    ),
    (
        "[locks]\nkinds = [\"pid\"]\n",
        (2, 10),
        "locks.kinds[1]: where a lock of 'pid' lies is its program's to say; write a [[locks.rule]] with kind = \"pid\" and its path",
    ),
    (
        "[[locks.rule]]\npath = \"x\"\nkind = \"twisted\"\n",
        (3, 1),
        "locks.rule[1].kind: there is no kind 'twisted'; did you mean 'twistd'?",
    ),
    (
        "[[locks.rule]]\npath = \"x\"\nkind = \"pid\"\nkeeps_open = true\n",
        (3, 1),
        "locks.rule[1].kind: what a lock of 'pid' is made of is known; leave only 'path' and 'name' beside it",
    ),
    (
        "[[locks.rule]]\npath = \"x\"\nformat = \"pid\"\nlinks = [\"y\"]\n",
        (4, 1),
        "locks.rule[1].links: only a rule of format \"symlink\" can have links beside it; remove them, or change the format",
    ),
    (
        "[[locks.rule]]\npath = \"x\"\nformat = \"pid\"\nsecond_name = \"../y\"\n",
        (4, 1),
        "locks.rule[1].second_name: it has to be a name in the lock's directory, of a lock that is a file",
    ),
    (
        "[[locks.rule]]\npath = \"x\"\nformat = \"pid\"\nsocket_first = true\n",
        (4, 1),
        "locks.rule[1].socket_first: there is no 'socket'; write where the owner listens",
    ),
    (
        "[[locks.rule]]\npath = \"x\"\nformat = \"pid\"\nhost = \"h\"\n",
        (4, 1),
        "locks.rule[1].host: only a rule",
    ),
    ("[locks\n", (1, 7), "unclosed table"),
    ("a = 'é' b", (1, 9), "unexpected"),
    ("log = 'info'\nlog = 'warn'", (2, 1), "the key 'log' stands here a second time"),
    ("stop_signals = ['TERM', 'NOPE']", (1, 25), "stop_signals[2]: 'NOPE' is not a signal; give a name"),
    ("stop_sequence = ['TERM:x']", (1, 18), "stop_sequence[1]"),
    ("remap_exit = [300]", (1, 15), "remap_exit[1] is integer `300`, and has to be a number from 0 to 255"),
    ("group = 'yes'", (1, 9), "group is string \"yes\", and has to be true or false"),
    ("command = 'sh -c x'", (1, 11), "command is string \"sh -c x\", and has to be a list of words"),
    ("command = []", (1, 1), "command: it is empty"),
    ("command = ['a', \"b\\u0000\"]", (1, 17), "command[2]: it contains a NUL byte"),
    ("preset = 'opencla'", (1, 1), "preset: 'opencla' is not known; there is: openclaw"),
    (
        r#"systemd.ready = "half\nway""#,
        (1, 17),
        r"systemd.ready cannot be 'half\nway'; there is: started, healthy, notified",
    ),
    (r#"preset = "op\nclaw""#, (1, 1), r"preset: 'op\nclaw' is not known; there is: openclaw"),
    ("control = ''", (1, 1), "control: it is empty; write a path, or 'off'"),
    ("[env]\n\"A=B\" = 'x'", (2, 1), "env.\"A=B\": this is no variable's name"),
    ("[env]\nPORT = 3000", (2, 8), "env.PORT is integer `3000`, and has to be a string"),
    ("restart = 'sometimes'", (1, 11), "restart cannot be 'sometimes'; there is: never, on-failure, always"),
    ("[restart]\nlimit = 0", (2, 1), "restart.limit: it has to be at least 1"),
    ("[restart]\ninterval = '0s'", (2, 1), "restart.interval: it has to be longer than 0"),
    ("[restart]\ndelay = '9s'\nmax_delay = '8s'", (3, 1), "restart.max_delay: it is shorter than 'delay'"),
    (
        "[restart]\nprevent_exit_codes = [1]\nforce_exit_codes = [1]",
        (3, 1),
        "restart.force_exit_codes: 1 is in 'prevent_exit_codes' too",
    ),
    ("[units.a]\nafter = ['b']", (1, 1), "units.a: the key 'command' is missing"),
    (
        "[units.a]\ncommand = ['x']\nafter = ['b']",
        (3, 10),
        "units.a.after[1]: there is no unit 'b'; there is: gateway",
    ),
    ("[units.a]\ncommand = ['x']\nbefore = ['a']", (3, 11), "units.a.before[1]: 'a' is the unit itself"),
    ("[units.gateway]\ncommand = ['x']", (1, 8), "units.gateway: this name is the main process's"),
    ("[units.'a b']\ncommand = ['x']", (1, 8), "units.\"a b\": a unit's name has 1 to 64 letters"),
    (
        "[units.a]\ncommand = ['x']\nuser = 'no-such-user'",
        (3, 1),
        "units.a.user: there is no user 'no-such-user'",
    ),
    (
        "[units.a]\ncommand = ['x']\nrestart = { on = 'alwas' }",
        (3, 18),
        "units.a.restart.on cannot be 'alwas'; did",
    ),
    (
        "[tools]\ntimeout = '0s'",
        (2, 1),
        "tools.timeout: it has to be longer than 0; for no limit, leave it out",
    ),
    (
        "[health]\nurl = ['http://a', 'https://b']",
        (2, 20),
        "health.url[2]: 'https://b' has to begin with http://",
    ),
    ("[health]\nurl = 'http:///x'", (2, 1), "health.url[1]: 'http:///x' has no host"),
    ("[health]\ntcp = 'localhost'", (2, 1), "health.tcp[1]: 'localhost' has to be HOST:PORT"),
    (
        "[health]\nfile = 'state/beat'",
        (2, 1),
        "health.file: 'state/beat' has to begin with /; write the whole path",
    ),
    ("[health]\nfile = '/beat'\nmax_age = '0s'", (3, 1), "health.max_age: it has to be longer than 0"),
    ("[health]\nslow_after = '4s'", (2, 1), "health.slow_after: it is longer than 'timeout'"),
    ("[health]\nfields = { a = [] }", (2, 16), "health.fields.a is a list, and has to be a string, a number"),
    (
        "[health]\naction = 'restart'",
        (2, 1),
        "health.action: nothing is asked; give 'url', 'tcp', 'file' or 'command'",
    ),
    ("[limits]\nmemory = '1,5G'", (2, 10), "limits.memory: '1,5G' is not a size such as \"1500M\""),
    ("[limits]\nmemory = -1", (2, 10), "limits.memory: -1 is not a size"),
    ("[limits]\naction = 'restart'", (2, 1), "limits.action: there is no limit; give 'memory' or 'zombies'"),
    ("[logs.a]\nfiles = []\npattern = 'x'", (2, 1), "logs.a.files: it is empty"),
    ("[[logs]]\nfiles = []", (1, 1), "logs is a list, and has to be a table"),
    ("[alerts]\ncommand = ['x']\ntimeout = '0s'", (3, 1), "alerts.timeout: it has to be longer than 0"),
    (
        "[watch]\nlisten = ':9464'",
        (2, 1),
        "watch.listen: ':9464' is no address and port; write it as 127.0.0.1:9464",
    ),
];

#[test]
fn what_is_wrong_is_said_with_its_place_and_key_and_what_to_write() {
    for (text, (line, column), said) in BROKEN {
        let error = read(text).err().unwrap_or_else(|| panic!("{text} was read"));
        let place = format!("the configuration file FILE, line {line}, column {column}: {said}");
        assert!(error.starts_with(&place) && !error.contains('\n'), "{text}\n{error}\n{place}");
        // The place is the same over a preset, whose own text is not shown; one has probes to act on.
        if text.contains("preset") || text.contains("[health]\naction") {
            continue;
        }
        let below = read(&format!("preset = 'openclaw'\n{text}")).unwrap_err();
        assert!(below.contains(&format!("line {}, column {column}: ", line + 1)), "{text}\n{below}");
    }
    let none = LoadContext {
        preset: None,
        command: &[],
        variable: &|_| None,
        owner: None,
        files: &FileAccess::Direct,
        package: &|_, _, _| None,
    };
    let refused = |path: &str| File::read(Some(Path::new(path)), &none).unwrap_err().to_string();
    assert!(refused("/nowhere.toml").contains("/nowhere.toml cannot be read: No such file"));
    assert!(refused("/").contains("ordinary file"));
    let asked = LoadContext { preset: Some("opencla"), ..none };
    assert!(File::read(None, &asked).unwrap_err().to_string().contains("preset 'opencla' is not known"));
}

proptest! {
    /// Whatever is written, the answer is a file or one line that names a place in it.
    #[test]
    fn no_text_makes_the_parser_panic(
        parts in prop::collection::vec(
            prop_oneof![
                4 => prop::sample::select(EXAMPLE.lines().collect::<Vec<_>>()).prop_map(str::to_owned),
                2 => prop::sample::select(BROKEN.iter().map(|(text, ..)| (*text).to_owned()).collect::<Vec<_>>()),
                1 => "\\PC{0,12}",
                1 => prop::sample::select(vec!["[", "]", "=", "\"", "'''", "\n", "é", "\u{0}", "9e9999", "{", "1979-05-27"]).prop_map(str::to_owned),
            ],
            0..12,
        ),
        joint in prop::sample::select(vec!["\n", "", " "]),
    ) {
        if let Err(error) = read(&parts.join(joint)) {
            prop_assert!(!error.contains('\n'), "{}", error);
        }
    }
}

/// The schema as the types have it. Editors read it; sexton itself does not.
fn schema() -> Value {
    let mut schema = serde_json::to_value(schemars::schema_for!(Raw)).unwrap();
    for setting in Given::SETTINGS.iter().filter(|setting| !setting.definition.key.is_empty()) {
        let (table, key) = setting.place();
        let properties = match schema["properties"][table]["$ref"].as_str() {
            Some(path) => format!("{}/properties", path.trim_start_matches('#')),
            None => "/properties".to_owned(),
        };
        let mut value = (setting.schema)();
        // What has a name of its own stands among the definitions.
        if let Some(Value::String(name)) = value.as_object_mut().unwrap().remove("title") {
            let reference = format!("#/$defs/{name}");
            schema["$defs"][name] =
                std::mem::replace(&mut value, json!({ "anyOf": [{ "$ref": reference }] }));
        }
        let lines: Vec<&str> = setting.description.lines().map(str::trim).collect();
        value["description"] = json!(lines.join("\n"));
        schema.pointer_mut(&properties).unwrap()[key] = value;
    }
    without_null(&mut schema);
    schema
}

/// TOML knows no null: what may be left out is simply not required.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(table) => {
            let null =
                |value: &Value| *value == "null" || value.get("type").is_some_and(|name| *name == "null");
            for key in ["type", "anyOf"] {
                if let Some(either) = table.get_mut(key).and_then(Value::as_array_mut) {
                    either.retain(|one| !null(one));
                }
            }
            if table.get("default") == Some(&Value::Null) {
                table.remove("default");
            }
            table.values_mut().for_each(without_null);
        }
        Value::Array(list) => list.iter_mut().for_each(without_null),
        _ => {}
    }
}

#[test]
fn the_schema_is_the_one_that_is_shipped() {
    let fresh = format!("{:#}\n", schema());
    if std::env::var_os("SEXTON_BLESS").is_some() {
        fs::write(SCHEMA, &fresh).unwrap();
    }
    let shipped = fs::read_to_string(SCHEMA).unwrap_or_default();
    assert!(shipped == fresh, "{SCHEMA} is stale; run the tests once with SEXTON_BLESS=1");
}

/// Follows `$ref` and the alternatives of an optional value to the schemas that have keys of their own.
fn followed<'a>(schema: &'a Value, whole: &'a Value) -> Vec<&'a Value> {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return followed(&whole["$defs"][name], whole);
    }
    let some = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema[key].as_array());
    some.map_or_else(|| vec![schema], |list| list.iter().flat_map(|one| followed(one, whole)).collect())
}

/// The keys that the schema has at `path` and below, without those that the example has.
fn missing(
    schema: &Value,
    whole: &Value,
    example: Option<&toml::Value>,
    path: &str,
    found: &mut BTreeSet<String>,
) {
    for schema in followed(schema, whole) {
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            let value = example.and_then(|example| example.get(key));
            let path = format!("{path}.{key}");
            // A unit's restart is the table that [restart] shows.
            if value.is_none() {
                found.insert(path.clone());
            } else if !path.ends_with(".*.restart") {
                missing(below, whole, value, &path, found);
            }
        }
        if let Some(toml::Value::Table(table)) =
            example.filter(|_| schema["additionalProperties"].is_object())
        {
            let first = table.values().next();
            missing(&schema["additionalProperties"], whole, first, &format!("{path}.*"), found);
        }
        if let Some(toml::Value::Array(list)) = example.filter(|_| schema["items"].is_object()) {
            // Not all keys fit into one of them.
            let tables = list.iter().filter_map(toml::Value::as_table).flatten();
            let all: toml::Table = tables.map(|(key, value)| (key.clone(), value.clone())).collect();
            let shown = if all.is_empty() { list.first().cloned() } else { Some(all.into()) };
            missing(&schema["items"], whole, shown.as_ref(), &format!("{path}[]"), found);
        }
    }
}

#[test]
fn the_example_shows_every_key() {
    let schema = schema();
    let example: toml::Value = toml::from_str(EXAMPLE).unwrap();
    let mut found = BTreeSet::new();
    missing(&schema, &schema, Some(&example), "", &mut found);
    assert_eq!(found, BTreeSet::new());
    let mut all = BTreeSet::new();
    missing(&schema, &schema, None, "", &mut all);
    assert!(all.len() > 20, "the schema was understood: {all:?}");
}
