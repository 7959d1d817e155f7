//! Operators: the logic of steps, one file each. What runs them is in `drivers`; what they compute is in `windows` and
//! `detectors`.
//!
//! Each file answers five questions: what it computes; which time it goes by; when it emits; what late and duplicate
//! input does; what it keeps by key, and what bounds that.

pub mod archive;
pub mod deduplicate;
pub mod detect;
pub mod encode;
pub mod show;
pub mod windows;

pub use crate::drivers::apply::Logic;
