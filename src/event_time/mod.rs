//! Event time: how far a partition has come, what is late, and what the job's watermark is. Pure.

mod clock;
mod watermark;

pub use clock::{Clock, JUMP_RUN, Rules, Times};
pub use watermark::{END_OF_TIME, START_OF_TIME, Watermark};
