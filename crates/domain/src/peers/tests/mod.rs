//! Measuring and rolling up, against a reference that is written from the contract and shares no code with it.

mod history;
mod meters;
mod reference;
