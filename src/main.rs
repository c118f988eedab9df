//! The `state-tracker` binary.
fn main() {}
