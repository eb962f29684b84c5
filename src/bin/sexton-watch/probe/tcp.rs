//! Whether a process accepts connections on an address. This is the weakest probe: the kernel accepts connections for a
//! process that hangs.

use super::Outcome;

/// Connects to `address`, and hangs up.
pub async fn connect(address: &str) -> Outcome {
    match super::connect(address).await {
        Ok(_) => Outcome::Good,
        Err(error) => Outcome::Bad(format!("cannot connect to {address}: {error}")),
    }
}
