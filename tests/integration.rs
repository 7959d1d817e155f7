//! The integration tests: one binary, so that they link once.

mod dataflows;
mod docs;
mod engine;
mod malformed;
mod outside;
mod processes;
mod stored;
mod support;
mod tidy;
