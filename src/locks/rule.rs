//! Where locks lie: path patterns, matched one directory at a time.
//!
//! It never touches a directory itself; it only says which names are worth looking at.

use std::collections::BTreeSet;
use std::fmt;

/// A path below a root, component by component; `*` stands for any bytes within one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Glob>,
}

/// One component, cut at its stars: a directory may have a million names, and each is held against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Vec<Vec<u8>>);

impl Pattern {
    /// `None` if `text` is empty, absolute, or holds an empty component, `.` or `..`.
    #[must_use]
    pub fn new(text: &str) -> Option<Pattern> {
        let parts = components(text)?.map(|part| Glob::new(part.as_bytes())).collect();
        Some(Pattern { parts })
    }

    /// Its components.
    pub(super) fn parts(&self) -> &[Glob] {
        &self.parts
    }
}

/// The components of a path that leads down. `None` if `text` is empty, absolute, or holds an empty component, `.` or
/// `..`.
pub(super) fn components(text: &str) -> Option<impl Iterator<Item = &str>> {
    let parts = text.split('/');
    parts.clone().all(|part| !matches!(part, "" | "." | "..")).then_some(parts)
}

impl Glob {
    fn new(text: &[u8]) -> Glob {
        Glob(text.split(|byte| *byte == b'*').map(<[u8]>::to_vec).collect())
    }

    /// The one name that fits, if there is no star.
    pub(super) fn only_name(&self) -> Option<&[u8]> {
        match self.0.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }

    /// Whether `name` fits: each star stands for any bytes, also none.
    pub(super) fn fits(&self, name: &[u8]) -> bool {
        let (first, between, last) = match self.0.as_slice() {
            [whole] => return name == whole,
            [first, between @ .., last] => (first, between, last),
            [] => return false,
        };
        // Names are more often told apart by their ends than by their beginnings.
        let Some(rest) = name.strip_suffix(last.as_slice()) else { return false };
        let Some(mut rest) = rest.strip_prefix(first.as_slice()) else { return false };
        for piece in between.iter().filter(|piece| !piece.is_empty()) {
            // The leftmost place is always a good one: it leaves the most for the pieces that follow.
            let found = rest.windows(piece.len()).position(|window| window == piece);
            match found.and_then(|at| rest.get(at + piece.len()..)) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        true
    }
}

/// Whose protocol a thing follows that sexton shows, and never judges or touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOurs {
    /// `SQLite`'s files.
    Sqlite,
    /// The guard that a gateway lays beside a lock while it takes it over.
    Reclaim,
    /// A lock that its holder keeps fresh by touching it (proper-lockfile and its like).
    Heartbeat,
    /// git's.
    Git,
}

impl fmt::Display for NotOurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotOurs::Sqlite => "SQLite's: its locks live in the kernel and end with their holder",
            NotOurs::Reclaim => {
                "a gateway's guard while it takes a lock over; it fails closed: remove it by hand only while no \
                 gateway and no command of it runs"
            }
            NotOurs::Heartbeat => "it names no owner: the process that holds it keeps its time fresh",
            NotOurs::Git => "git's: it names no owner; remove it by hand when no git runs there",
        })
    }
}

/// Names that belong to another program's protocol. They are never touched, whatever a pattern says.
#[must_use]
pub fn untouchable(name: &[u8]) -> Option<NotOurs> {
    match name {
        b"index.lock" => Some(NotOurs::Git),
        _ if name.ends_with(b".reclaim") => Some(NotOurs::Reclaim),
        _ if [&b".sqlite"[..], b"-wal", b"-shm", b".sqlite-journal"]
            .iter()
            .any(|end| name.ends_with(end)) =>
        {
            Some(NotOurs::Sqlite)
        }
        _ => None,
    }
}

/// Patterns, each with what it stands for.
#[derive(Debug, Clone)]
pub struct Rules<T> {
    patterns: Vec<(Pattern, T)>,
}

/// Where a walk stands: which patterns are still possible, and how many components of each are behind it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor(Vec<(usize, usize)>);

impl Cursor {
    /// Whether no pattern can match anything below.
    #[must_use]
    pub fn cannot_match(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the next name in a directory leads to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Segment<T> {
    /// The name is a whole match of this, the first pattern in order that fits.
    pub found: Option<T>,
    /// It is a whole match, but untouchable.
    pub foreign: Option<NotOurs>,
    /// Where the walk stands inside, if the name is a directory's.
    pub below: Cursor,
}

impl<T> Segment<T> {
    /// Whether the name needs no further look.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.found.is_none() && self.foreign.is_none() && self.below.cannot_match()
    }
}

impl<T: Copy> Rules<T> {
    /// Earlier patterns win over later ones.
    #[must_use]
    pub fn new(patterns: Vec<(Pattern, T)>) -> Rules<T> {
        Rules { patterns }
    }

    /// The root itself.
    #[must_use]
    pub fn start(&self) -> Cursor {
        Cursor((0..self.patterns.len()).map(|pattern| (pattern, 0)).collect())
    }

    fn open<'a>(
        &'a self,
        place: &'a Cursor,
    ) -> impl Iterator<Item = (usize, usize, &'a Pattern, &'a Glob, T)> {
        place.0.iter().filter_map(|(index, position)| {
            let (pattern, what) = self.patterns.get(*index)?;
            Some((*index, *position, pattern, pattern.parts.get(*position)?, *what))
        })
    }

    /// The only names that can match here, or `None` if any name might and the directory has to be listed.
    #[must_use]
    pub fn only_names(&self, place: &Cursor) -> Option<BTreeSet<&[u8]>> {
        let mut names = BTreeSet::new();
        for (index, position) in &place.0 {
            let part = self.patterns.get(*index).and_then(|(pattern, _)| pattern.parts.get(*position))?;
            names.insert(part.only_name()?);
        }
        Some(names)
    }

    /// One name further.
    #[must_use]
    pub fn step(&self, place: &Cursor, name: &[u8]) -> Segment<T> {
        let mut step = Segment { found: None, foreign: None, below: Cursor::default() };
        for (index, position, pattern, part, what) in self.open(place) {
            if !part.fits(name) {
                continue;
            }
            if position + 1 < pattern.parts.len() {
                step.below.0.push((index, position + 1));
            } else if let Some(foreign) = untouchable(name) {
                step.foreign = Some(foreign);
            } else if step.found.is_none() {
                step.found = Some(what);
            }
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_bytes() {
        let table: [(&[u8], &[u8], bool); 16] = [
            (b"a", b"a", true),
            (b"a", b"ab", false),
            (b"*", b"", true),
            (b"*", b"\xff\n", true),
            (b"*.lock", b".lock", true),
            (b"*.lock", b"a.lock.sqlite", false),
            (b"gateway.*.lock", b"gateway.acb44012.lock", true),
            (b"gateway.*.lock", b"gateway.lock", false),
            (b"gateway.*.lock", b"gateway..lock", true),
            (b"*.jsonl.lock", b"s\xff\n.jsonl.lock", true),
            (b"*a*b*", b"xxaxxbxx", true),
            (b"*a*b*", b"xxbxxaxx", false),
            (b"**", b"ab", true),
            (b"a*a", b"a", false),
            (b"a*a", b"aa", true),
            (b"*ab*ab", b"ab", false),
        ];
        for (glob, name, answer) in table {
            assert_eq!(Glob::new(glob).fits(name), answer, "{} {}", glob.escape_ascii(), name.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn a_star_agrees_with_the_obvious_matcher(glob in "[ab*]{0,6}", name in "[ab]{0,8}") {
            fn obvious(glob: &[u8], name: &[u8]) -> bool {
                match (glob.split_first(), name.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) => {
                        obvious(rest, name) || name.split_first().is_some_and(|(_, tail)| obvious(glob, tail))
                    }
                    (Some((g, rest)), Some((n, tail))) => g == n && obvious(rest, tail),
                    _ => false,
                }
            }
            prop_assert_eq!(Glob::new(glob.as_bytes()).fits(name.as_bytes()), obvious(glob.as_bytes(), name.as_bytes()));
        }
    }

    #[test]
    fn a_pattern_stays_below_its_root() {
        for text in ["", "/a", "a/", "a//b", "./a", "a/../b", ".."] {
            assert_eq!(Pattern::new(text), None, "{text}");
        }
        assert!(Pattern::new("agents/*/sessions/*.jsonl.lock").is_some());
    }

    fn rules() -> Rules<u8> {
        let pattern = |text: &str, what| (Pattern::new(text).unwrap(), what);
        Rules::new(vec![
            pattern("agents/*/sessions/*.lock", 1),
            pattern("agents/*/agent/auth.lock", 2),
            pattern("agents/main/sessions/x.lock", 3),
        ])
    }

    #[test]
    fn a_walk_looks_only_where_something_can_be() {
        let rules = rules();
        let root = rules.start();
        assert_eq!(rules.only_names(&root), Some(BTreeSet::from([&b"agents"[..]])));
        assert!(rules.step(&root, b"other").below.cannot_match());

        let agents = rules.step(&root, b"agents").below;
        assert_eq!(rules.only_names(&agents), None);

        let other = rules.step(&agents, b"other").below;
        assert_eq!(rules.only_names(&other), Some(BTreeSet::from([&b"agent"[..], b"sessions"])));
        let agent = rules.step(&other, b"agent").below;
        assert_eq!(rules.only_names(&agent), Some(BTreeSet::from([&b"auth.lock"[..]])));
        assert_eq!(rules.step(&agent, b"auth.lock").found, Some(2));

        let main = rules.step(&agents, b"main").below;
        let sessions = rules.step(&main, b"sessions").below;
        assert_eq!(rules.step(&sessions, b"x.lock"), Segment { found: Some(1), ..Segment::default() });
        assert_eq!(rules.step(&sessions, b"x.lockx").found, None);
    }

    #[test]
    fn what_belongs_to_others_is_never_found() {
        let rules = Rules::new(vec![(Pattern::new("*").unwrap(), ())]);
        let root = rules.start();
        for (name, foreign) in [
            (&b"a.sqlite"[..], NotOurs::Sqlite),
            (b"a.sqlite-wal", NotOurs::Sqlite),
            (b"a-shm", NotOurs::Sqlite),
            (b"a.lock.reclaim", NotOurs::Reclaim),
            (b"x.lock.sqlite", NotOurs::Sqlite),
            (b"index.lock", NotOurs::Git),
        ] {
            let step = rules.step(&root, name);
            assert_eq!((step.found, step.foreign), (None, Some(foreign)), "{}", name.escape_ascii());
        }
        assert_eq!(rules.step(&root, b"a.lock").found, Some(()));
    }
}
