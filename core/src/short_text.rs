//! Short texts.

/// A name, a tag or an instance id: up to 24 bytes of it stand where a `String` would keep its address, so that a page
/// of groups is read, compared and freed without an allocation for each of its texts.
pub use compact_str::CompactString as ShortText;
