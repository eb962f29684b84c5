//! `[locks]`: what is done about locks, and the operator's own kinds of them.

use serde::Deserialize;

use super::error::{InvalidValue, WithPath};
use super::values::{OneOrMore, Reaction};
use crate::config::catalogue;
use crate::config::lock_rule::LockRule;

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
    /// Kinds of locks of the catalogue that are looked for as well, each where its program has it: names that `sexton locks
    /// kinds` shows, one or a list, or `auto` for those whose program is on the path, which counts where sexton is PID 1.
    kinds: OneOrMore,
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
    /// The kinds of the catalogue that are looked for.
    pub kinds: Vec<String>,
    /// The operator's own kinds of locks.
    pub rules: Vec<LockRule>,
}

impl RawLocks {
    pub(super) fn check(self) -> Result<Locks, InvalidValue> {
        for (index, word) in self.kinds.0.iter().enumerate() {
            catalogue::check(word).map_err(|what| InvalidValue::new(what).at(index)).below("kinds")?;
        }
        let rules = self.rule.into_iter().enumerate();
        let rules = rules.map(|(index, rule)| checked(rule).map_err(|flaw| flaw.at(index)));
        Ok(Locks {
            exclusive: self.sharing == Some(RawSharing::Exclusive),
            held_too_long: self.held_too_long,
            kinds: self.kinds.0,
            rules: rules.collect::<Result<_, _>>().below("rule")?,
        })
    }
}

/// The whole rule; what is wrong with it, if it stands for no kind of lock.
fn checked(rule: LockRule) -> Result<LockRule, InvalidValue> {
    let rule = match &rule.kind {
        None => rule,
        Some(kind) if rule.says_how() => {
            let what = format!(
                "what a lock of '{kind}' is made of is known; leave only 'path' and 'name' beside it"
            );
            return Err(InvalidValue::new(what).below("kind"));
        }
        Some(kind) => catalogue::elsewhere(kind, &rule)
            .ok_or_else(|| InvalidValue::new(catalogue::unknown(kind)).below("kind"))?,
    };
    rule.check().map_err(|(key, what)| InvalidValue::new(what).below(key))?;
    Ok(rule)
}
