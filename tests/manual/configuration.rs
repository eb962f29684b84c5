//! sexton.toml(5): every key, as the schema has it, and the annotated example.

use clap_mangen::roff::{Roff, bold, italic, roman};
use serde_json::{Map, Value};

use crate::page::{begun, finished, prose, section, see_also, term};

const SCHEMA: &str = include_str!("../../packaging/config/sexton.schema.json");
const EXAMPLE: &str = include_str!("../../packaging/config/sexton.toml");

const ABOUT: &str = "\
The file is the one that `--config` or `SEXTON_CONFIG` names, else /etc/sexton/sexton.toml if there is one. `sexton`
alone, where neither says what to run, takes ./sexton.toml, if it belongs to you or to root. It is written in TOML.

The command line wins over the environment, the environment over the file, the file over its preset, the preset over the
default. A key that is not known is refused, and so is a bad value, with one line and exit code 125. `sexton check` says
what all of it comes to, and `sexton reload` has a sexton that runs read the file again.

Durations are strings as \"500ms\", \"30s\" or \"2m\", and sizes as \"1500M\". Signals are written \"TERM\", \"RTMIN+3\" or
\"15\".";

/// The page.
pub fn page() -> String {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let name = "sexton.toml - configuration of sexton";
    let mut page = begun("SEXTON.TOML", "5", "File Formats", name);
    section(&mut page, "DESCRIPTION", ABOUT);
    table(&mut page, &schema, &schema, "");
    page.control("SH", ["EXAMPLE"]).control("EX", []);
    for line in EXAMPLE.lines() {
        page.text([roman(line)]);
    }
    page.control("EE", []);
    see_also(&mut page, &[("sexton", "1"), ("sexton-watch", "8")]);
    finished(&page)
}

/// The keys of a table, and then the tables in it. `path` leads to it, as it is written between brackets.
fn table(page: &mut Roff, table: &Value, schema: &Value, path: &str) {
    let mut inner = Vec::new();
    let mut keys = keys_of(table);
    keys.sort_by_key(|(key, _)| place_in_example(key, path));
    page.control("SH", [if path.is_empty() { "KEYS" } else { path }]);
    if !path.is_empty() {
        prose(page, &description(table));
    }
    for (key, value) in keys {
        let forms = forms(value, schema);
        let below = forms.iter().find_map(|form| {
            let bare = path.trim_matches(['[', ']']);
            let name = if bare.is_empty() { key.clone() } else { format!("{bare}.{key}") };
            if form["properties"].is_object() {
                return Some((format!("[{name}]"), *form));
            }
            let of_each = forms_of(&form["items"], schema).filter(|each| each["properties"].is_object());
            let of_name = forms_of(&form["additionalProperties"], schema);
            let of_name = of_name.filter(|each| each["properties"].is_object());
            let each = of_each.map(|each| (format!("[[{name}]]"), each));
            each.or_else(|| of_name.map(|each| (format!("[{name}.NAME]"), each)))
        });
        // A table that can also be written as one value, or that hangs below another, is a key as well.
        let plain: Vec<_> = forms.iter().filter(|form| !form["properties"].is_object()).collect();
        let plainly = plain.first().map(|form| kind(form)).unwrap_or_default();
        match below {
            // A unit's is the gateway's, one level deeper.
            Some(_) if !path.is_empty() && !plain.is_empty() => {
                entry(page, key, value, schema, &format!("{plainly}, or a table as [{key}]"));
            }
            Some(below) => {
                if !plain.is_empty() && plain.iter().all(|form| form["enum"].is_array()) {
                    entry(page, key, value, schema, &format!("{plainly}, or the table {}", below.0));
                }
                inner.push(below);
            }
            None => entry(page, key, value, schema, &plainly),
        }
    }
    for (path, below) in inner {
        self::table(page, below, schema, &path);
    }
}

/// One key: its name and type, and what it means.
fn entry(page: &mut Roff, key: &str, value: &Value, schema: &Value, kind: &str) {
    let mut header = vec![bold(key), roman(" = "), italic(kind)];
    let default = &value["default"];
    let empty =
        default.as_array().is_some_and(Vec::is_empty) || default.as_object().is_some_and(Map::is_empty);
    if !default.is_null() && !empty {
        header.push(roman(format!(" [default: {default}]")));
    }
    let referred = value["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/"));
    let of_type = referred.map(|name| description(&schema["$defs"][name]));
    term(
        page,
        header,
        &Some(description(value)).filter(|text| !text.is_empty()).or(of_type).unwrap_or_default(),
    );
}

fn description(value: &Value) -> String {
    value["description"].as_str().unwrap_or_default().to_owned()
}

fn keys_of(table: &Value) -> Vec<(&String, &Value)> {
    table["properties"].as_object().into_iter().flatten().collect()
}

/// What a value may be, references followed.
fn forms<'a>(value: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    if let Some(name) = value["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return forms(&schema["$defs"][name], schema);
    }
    match value["anyOf"].as_array() {
        Some(list) => list.iter().flat_map(|one| forms(one, schema)).collect(),
        None => vec![value],
    }
}

fn forms_of<'a>(value: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    value.is_object().then(|| forms(value, schema)).and_then(|forms| forms.first().copied())
}

/// Its type in words.
fn kind(form: &Value) -> String {
    let quoted = |list: Vec<&Value>| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    if let Some(words) = form["enum"].as_array() {
        return quoted(words.iter().collect());
    }
    if let Some(words) = form["oneOf"].as_array() {
        return quoted(words.iter().map(|word| &word["const"]).collect());
    }
    let types: Vec<&str> = match &form["type"] {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let of = if form["items"]["type"] == "integer" { "integers" } else { "strings" };
    let word = |name: &&str| match *name {
        "array" => format!("a list of {of}"),
        "object" => "a table".to_owned(),
        "integer" => "an integer".to_owned(),
        name => format!("a {name}"),
    };
    types.iter().map(word).collect::<Vec<_>>().join(" or ")
}

/// Where the example speaks of a key, so that the page has the example's order.
fn place_in_example(key: &str, path: &str) -> usize {
    let bare = path.trim_matches(['[', ']']).replace(".NAME", "");
    let start = if bare.is_empty() { 0 } else { EXAMPLE.find(&format!("[{bare}")).unwrap_or(EXAMPLE.len()) };
    let found = |text: String| EXAMPLE[start..].find(&text).map(|at| start + at);
    let whole = if bare.is_empty() { key.to_owned() } else { format!("{bare}.{key}") };
    let places =
        [format!("\n{key} ="), format!("\n[{whole}]"), format!("\n[{whole}."), format!("\n[[{whole}")];
    places.into_iter().filter_map(found).min().unwrap_or(EXAMPLE.len())
}
