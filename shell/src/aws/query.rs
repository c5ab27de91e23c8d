//! The query protocol of EC2 Auto Scaling, for calls that go without the SDK: forms, signatures, and XML in return.

mod form;
mod sign;
pub mod xml;

pub use form::{FORM_TYPE, Form};
pub use sign::{Scope, USER_AGENT, sign};
