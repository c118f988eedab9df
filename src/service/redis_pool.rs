//! The settings of pools of connections to Redis.

use std::time::Duration;

use color_eyre::eyre::{Result, WrapErr};
use store_redis::RedisSettings;

use crate::config::Config;

/// Those of a pool of this size.
///
/// # Errors
/// Invalid settings of Redis, certificates that can't be read.
pub(super) fn settings(config: &Config, pool_size: usize) -> Result<RedisSettings> {
    let redis = &config.redis;
    Ok(RedisSettings {
        servers: redis.servers().wrap_err("the settings of Redis are invalid")?,
        certificates: redis.certificates()?,
        // Errors and logs name the server by this text, which has no credentials.
        address: redis.address(),
        pool_size,
        connect_timeout: redis.connect_timeout,
        command_timeout: redis.command_timeout,
        check_after: Duration::ZERO,
    })
}
