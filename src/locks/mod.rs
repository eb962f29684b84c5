//! Who owns a lock, and what becomes of it.
//!
//! ```text
//! sweep ─┬─ open_root       opens a root and becomes its owner
//!        ├─ registration   who else uses it
//!        ├─ mark_file      the marks of locks whose owners were seen alive
//!        ├─ walk           finds what fits a rule
//!        ├─ inspect ─ evidence, witness, socket   looks at one lock and asks the system about it
//!        ├─ lock_file       the lock as it was: what it is made of
//!        ├─ listing        the same without removing, for `sexton locks`
//!        ├─ lease_watch          watches, beside a living gateway, that no process opens it
//!        └─ remove, hand_over    compare a last time and act
//! pure: context (when), roots (which ones), rule and kind (where, what), format (bytes to owner), verdict (evidence to verdict),
//!       marks (what was seen to what is known)
//! ```
//!
//! Everything impure here runs in a short-lived child of sexton and never in PID 1 itself: the directories
//! below belong to others, and their filesystem may hang. The one exception asks the kernel's memory alone
//! ([`are_known_missing`]). *Only what is judged orphaned is ever removed, and a lock whose owner lives never is,
//! whatever its age.*

mod context;
mod evidence;
pub mod format;
mod hand_over;
mod inspect;
pub mod kind;
mod lease_watch;
pub mod listing;
mod lock_file;
mod mark_file;
mod marks;
mod open_root;
mod registration;
mod remove;
pub mod roots;
pub mod rule;
mod socket;
mod sweep;
pub mod verdict;
mod walk;
mod witness;

pub use context::SweepContext;
pub use evidence::{Filesystem, filesystem};
pub use kind::LockKinds;
pub use lease_watch::LiveSweep;
pub use open_root::{
    Explained, Found, KnownRoot, NotFound, RootOwner, are_known_missing, drops_to_owner, find,
};
pub use roots::Root;
pub use sweep::{Action, Released, Report, Request, sweep};
