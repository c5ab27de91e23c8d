//! How names, tags and ids are held.

/// A name, a tag or an id. One of at most 24 bytes is held in place, without an allocation; a longer one as a `String`
/// is. Texts that are usually longer (ARNs, job ids, messages for people) stay `String`s.
pub use compact_str::CompactString as ShortText;
