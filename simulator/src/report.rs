//! Reports: a recording as one page for people, that needs nothing beside itself.
//!
//! The recorded events go through the machine once more; what its pools look like after each step, what it said and
//! what it asked for become the page's data.

mod cause;
mod columns;
mod daemon;
mod model;
mod page;
mod pool;
mod reader;
mod summary;

pub use model::Collector;
pub use page::html;
pub use reader::{Reached, Reading, read};

#[cfg(test)]
mod tests;
