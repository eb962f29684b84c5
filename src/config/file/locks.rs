//! `[locks]`: what is done about locks, and the operator's own kinds of them.

use serde::Deserialize;

use super::error::{InvalidValue, WithPath};
use super::values::Reaction;
use crate::config::lock_rule::{LockFormat, LockRule};
use crate::locks::rule::Pattern;

/// What is done about locks that a dead process left behind.
#[derive(Deserialize, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLocks {
    /// Where the owners of locks can live: `exclusive` says that no process outside sexton's own pid namespace uses
    /// the roots, neither on the host nor in another container. Then a pid that is missing here is dead.
    sharing: Option<RawSharing>,
    /// What follows when a living owner holds a lock past its limit. Either value starts sexton-watch.
    held_too_long: Option<Reaction>,
    /// Kinds of locks that sexton does not know by itself.
    rule: Vec<LockRule>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
enum RawSharing {
    Shared,
    Exclusive,
}

/// What a file says of locks; what it leaves out is not there.
#[derive(Debug, Clone, Default)]
pub struct Locks {
    /// Whether no process outside sexton's own pid namespace uses the roots.
    pub exclusive: bool,
    /// What follows when one is held too long.
    pub held_too_long: Option<Reaction>,
    /// The operator's own kinds of locks.
    pub rules: Vec<LockRule>,
}

impl RawLocks {
    pub(super) fn check(self) -> Result<Locks, InvalidValue> {
        let rules = self.rule.into_iter().enumerate();
        let rules = rules.map(|(index, rule)| checked(rule).map_err(|flaw| flaw.at(index)));
        Ok(Locks {
            exclusive: self.sharing == Some(RawSharing::Exclusive),
            held_too_long: self.held_too_long,
            rules: rules.collect::<Result<_, _>>().below("rule")?,
        })
    }
}

/// Says what is wrong with a rule; nothing, if it stands for a kind of lock.
fn checked(rule: LockRule) -> Result<LockRule, InvalidValue> {
    let fields = [("pid", &rule.pid), ("started", &rule.started), ("host", &rule.host), ("boot", &rule.boot)];
    let named = fields.iter().find(|(_, field)| field.is_some());
    if let Some((field, _)) = named.filter(|_| rule.format != LockFormat::Json) {
        let what = "only a rule of format \"json\" can name a field; remove it, or change the format";
        return Err(InvalidValue::new(what).below(field));
    }
    if let (Some(socket), None) = (&rule.socket, rule.socket_path()) {
        let what = format!(
            "'{socket}' has to be a path below the lock's directory, without '.', '..' and empty parts; it can have a '*' if the last part of 'path' has one"
        );
        return Err(InvalidValue::new(what).below("socket"));
    }
    if let Some(witness) = rule.witness.as_ref().filter(|text| Pattern::new(text).is_none()) {
        let what = format!(
            "'{witness}' has to be a path below the lock's directory, without '.', '..' and empty parts"
        );
        return Err(InvalidValue::new(what).below("witness"));
    }
    if rule.kind().is_none() {
        let path = &rule.path;
        let what = format!("'{path}' has to be a path below a root, without '.', '..' and empty parts");
        return Err(InvalidValue::new(what).below("path"));
    }
    Ok(rule)
}
