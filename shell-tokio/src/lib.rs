//! poolkeeper.
