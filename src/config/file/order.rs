//! The order in which units are started.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{InvalidValue, WithPath};
use crate::config::unit::GATEWAY;

/// What one unit says of its place.
pub(super) struct OrderConstraints<'a> {
    pub(super) name: &'a str,
    pub(super) after: &'a [String],
    pub(super) before: &'a [String],
}

/// The names in their order of start, the gateway among them. Units that are free to choose come before the
/// gateway, and by name.
pub(super) fn order(units: &[OrderConstraints<'_>]) -> Result<Vec<String>, InvalidValue> {
    let mut names = BTreeSet::from([GATEWAY]);
    names.extend(units.iter().map(|unit| unit.name));
    // For each, those that must have been started before it.
    let mut waits: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    waits.extend(names.iter().map(|name| (*name, BTreeSet::new())));
    for unit in units {
        for (key, listed) in [("after", unit.after), ("before", unit.before)] {
            for (index, other) in listed.iter().enumerate() {
                known(other, unit.name, &names, listed.get(..index).unwrap_or_default())
                    .map_err(|flaw| flaw.at(index))
                    .below(key)
                    .below(unit.name)?;
                let (later, earlier) =
                    if key == "after" { (unit.name, other.as_str()) } else { (other.as_str(), unit.name) };
                waits.entry(later).or_default().insert(earlier);
            }
        }
    }
    let mut started: Vec<&str> = Vec::new();
    while started.len() < names.len() {
        let ready = |name: &&&str| {
            !started.contains(name)
                && waits.get(**name).is_none_or(|all| all.iter().all(|one| started.contains(one)))
        };
        let next = names.iter().filter(|name| **name != GATEWAY).find(ready);
        let Some(next) = next.or_else(|| names.get(GATEWAY).filter(|name| ready(name))) else {
            return Err(cycle(&waits, &started));
        };
        started.push(next);
    }
    Ok(started.into_iter().map(str::to_owned).collect())
}

fn known(other: &str, own: &str, names: &BTreeSet<&str>, earlier: &[String]) -> Result<(), InvalidValue> {
    if other == own {
        return Err(InvalidValue::new(format!("'{other}' is the unit itself; take it out")));
    }
    if earlier.iter().any(|one| one == other) {
        return Err(InvalidValue::new(format!("'{other}' is listed twice; take one out")));
    }
    if !names.contains(other) {
        let there: Vec<&str> = names.iter().copied().filter(|name| *name != own).collect();
        let what = format!("there is no unit '{other}'; there is: {}", there.join(", "));
        return Err(InvalidValue::new(what));
    }
    Ok(())
}

/// One circle among those that were never started. Each of them waits for another one of them.
fn cycle(waits: &BTreeMap<&str, BTreeSet<&str>>, started: &[&str]) -> InvalidValue {
    let awaited = |name: &str| waits.get(name)?.iter().copied().find(|one| !started.contains(one));
    let mut way: Vec<&str> = waits.keys().copied().filter(|name| !started.contains(name)).take(1).collect();
    while let Some(next) = way.last().and_then(|last| awaited(last)) {
        if let Some(place) = way.iter().position(|name| *name == next) {
            way.drain(..place);
            way.push(next);
            break;
        }
        way.push(next);
    }
    let unit = way.iter().copied().find(|name| *name != GATEWAY).unwrap_or(GATEWAY).to_owned();
    let what = format!("the order is a circle, {}; take one 'after' or 'before' out", way.join(" after "));
    InvalidValue::new(what).below(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a>b,c<d`: a after b and c, before d.
    fn ordered(units: &[(&str, &[&str], &[&str])]) -> Result<String, InvalidValue> {
        let own = |list: &[&str]| -> Vec<String> { list.iter().map(|name| (*name).to_owned()).collect() };
        let units: Vec<_> =
            units.iter().map(|(name, after, before)| (*name, own(after), own(before))).collect();
        let wishes: Vec<_> =
            units.iter().map(|(name, after, before)| OrderConstraints { name, after, before }).collect();
        order(&wishes).map(|names| names.join(" "))
    }

    #[test]
    fn those_that_are_free_come_before_the_gateway_and_by_name() {
        assert_eq!(ordered(&[]).unwrap(), "gateway");
        assert_eq!(ordered(&[("b", &[], &[]), ("a", &[], &[])]).unwrap(), "a b gateway");
        assert_eq!(ordered(&[("a", &["b"], &[]), ("b", &[], &[])]).unwrap(), "b a gateway");
        assert_eq!(ordered(&[("a", &["gateway"], &[]), ("b", &["a"], &[])]).unwrap(), "gateway a b");
        assert_eq!(ordered(&[("a", &["gateway"], &[]), ("z", &[], &["gateway"])]).unwrap(), "z gateway a");
        assert_eq!(ordered(&[("z", &[], &["a"]), ("a", &[], &[])]).unwrap(), "z a gateway");
    }

    #[test]
    fn a_circle_names_itself() {
        for (units, said) in [
            (&[("a", &["b"] as &[&str], &[] as &[&str]), ("b", &["a"], &[])][..], "a after b after a"),
            (&[("a", &["gateway"], &["gateway"])], "a after gateway after a"),
            (&[("a", &["a"], &[])], "the unit itself"),
            (&[("a", &["c"], &[])], "there is no unit 'c'; there is: gateway"),
            (&[("a", &["b", "b"], &[]), ("b", &[], &[])], "listed twice"),
        ] {
            let flaw = format!("{:?}", ordered(units).unwrap_err());
            assert!(flaw.contains(said), "{flaw}");
        }
    }
}
