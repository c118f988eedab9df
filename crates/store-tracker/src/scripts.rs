//! Scripts that more than one module of this crate runs.

use std::sync::LazyLock;

use store_redis::Lua;

/// Sets a field of a hash, where the hash exists.
pub(crate) static SET_IN_EXISTING_HASH: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(include_str!("set_in_existing_hash.lua")));
