//! The library behind the `state-tracker` binary: command line, configuration, endpoints, and the wiring of the actors.
//!
//! **Invariant:** no rule about an epoch, a market or a block is decided here, and no crate below knows a setting, a
//! command or a remedy of this one.

#![warn(clippy::print_stdout, clippy::print_stderr)] // These macros panic on a closed pipe; use `app::print`.

pub mod api;
pub mod app;
pub mod campaigns;
pub mod cli;
pub mod config;
mod contracts;
#[cfg(feature = "demo")]
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod escape;
pub mod exit;
pub mod http;
pub mod key_families;
pub mod outbox;
mod pages;
pub mod peers;
mod producers;
mod protocol;
pub mod reference;
pub mod remedy;
pub mod rights;
pub mod service;
#[cfg(feature = "demo")]
pub mod simulate;
