//! What may be asked of a running daemon, and how much work a daemon takes on.

use crate::status::Query;

/// The most calls under way at once, one poll for each of the most pools included.
pub const CALLS_MAX: usize = 32_768;
/// The most requests to the loop, such as status queries, that wait at once. A request to stop always has room.
pub const CONTROLS_MAX: usize = 64;
/// How many answers that already wait are taken in one go: their writes to AWS go out first, then all else.
pub const BATCH_MAX: usize = 256;

/// What may be asked of a running daemon.
#[derive(Debug)]
pub enum Control {
    /// End in order.
    Stop,
    /// Read the config file again.
    Reload,
    /// Answer a question of the status server.
    Query(Query),
}
