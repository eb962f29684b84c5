//! Who owns a lock, and what becomes of it.
//!
//! ```text
//! sweep ─┬─ entrance       opens a root and becomes its owner
//!        ├─ registration   who else uses it
//!        ├─ walk           finds what fits a rule
//!        ├─ inspect ─ evidence   looks at one lock and asks the system about it
//!        ├─ specimen       the lock as it was: what it is made of
//!        ├─ listing        the same without removing, for whoever wants to know
//!        ├─ vigil          watches, beside a living gateway, that nobody wants it
//!        └─ remove, hand_over    compare a last time and act
//! pure: scene (when), roots (which ones), rule and kind (where, what), format (bytes to owner), verdict (evidence to verdict)
//! ```
//!
//! Everything impure here runs in a short-lived child of sexton and never in PID 1 itself: the directories
//! below belong to others, and their filesystem may hang. The one exception asks the kernel's memory alone
//! ([`are_known_missing`]). *Only what is judged orphaned is ever removed, and a lock whose owner lives never is,
//! whatever its age.*

mod entrance;
mod evidence;
pub mod format;
mod hand_over;
mod inspect;
pub mod kind;
pub mod listing;
mod registration;
mod remove;
pub mod roots;
pub mod rule;
mod scene;
mod shown;
mod specimen;
mod sweep;
pub mod verdict;
mod vigil;
mod walk;

pub use entrance::{are_known_missing, changes_user};
pub use kind::Family;
pub use roots::Root;
pub use scene::Scene;
pub use shown::Shown;
pub use sweep::{Action, Released, Report, Request, sweep};
pub use vigil::Beside;
