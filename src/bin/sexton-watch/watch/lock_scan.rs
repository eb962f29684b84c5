//! What a look at the locks gives, and how one at the gateway's own is asked for.

use std::path::PathBuf;

use sexton::locks::listing::Entry;
use tokio::sync::Notify;

/// What the last look gave.
#[derive(Debug, Clone, Default)]
pub struct LockScan {
    /// The first locks of all that were found.
    pub entries: Vec<Entry>,
    /// How many there were.
    pub number: usize,
    /// How many of them are held past their limit.
    pub too_long: usize,
    /// The locks that the gateway holds for its whole life.
    pub of_gateway: Vec<PathBuf>,
}

/// A scan of the gateway's own locks. A probe that got no good answer requests it.
#[derive(Default)]
pub struct GatewayLook {
    /// A probe requests it.
    pub wanted: Notify,
    /// It has been done.
    pub done: Notify,
}
