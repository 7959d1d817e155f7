//! meterflow: streaming anomaly detection for smart meters.
//!
//! A library of operators on timely and differential dataflow, and the runtime that runs dataflows of them on threads,
//! processes and hosts. It knows no dataflow itself: `dataflows/` has those of the `meterflow` program, and a crate of
//! your own can define others with what the prelude offers.
//!
//! The modules stand in layers; a module uses only what stands above it in this list.

pub mod error;
pub mod fault;
pub mod model;
pub mod settings;
pub mod time;

pub mod codec;
pub mod detectors;
pub mod event_time;
pub mod state;
pub mod windows;

pub mod checkpoint;
pub mod connectors;
pub mod simulator;

pub mod drivers;

pub mod operators;

pub mod config;

pub mod flow;

pub mod runtime;

pub mod cli;

pub mod prelude;

pub use cli::main;
