//! The macro of the crate `paste` for `alloy-core`, which names that crate. It is no longer maintained, its successor is `pastey`.
//!
//! **Invariant:** it has no code of its own, and nothing of the workspace uses it.

pub use pastey::paste;
