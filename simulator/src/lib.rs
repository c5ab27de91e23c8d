//! Models of GitHub's scale set service, of AWS Auto Scaling, and of the runners between them.
//!
//! The models own no clock, socket or thread: a request and the time go in, a reply comes out. The same models serve
//! tests under virtual time and, behind real HTTP, the sandbox.

pub mod aws;
mod digits;
pub mod github;
pub mod http;
pub mod parsers;
pub mod report;
pub mod runners;
pub mod sample;
pub mod sandbox;
pub mod scenario;
pub mod simulation;
pub mod store;
pub mod traffic;
pub mod workload;
pub mod world;
