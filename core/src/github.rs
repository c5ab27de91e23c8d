//! GitHub's runner scale set service: where it lives, what it is asked, and what it answers.
//!
//! The service has no official documentation; shapes follow GitHub's public Go client, `actions/scaleset`.

pub mod answer;
pub mod call;
pub mod error;
pub mod message;
pub mod reply;
pub mod request;
pub mod scope;
