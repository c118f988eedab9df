//! The verdict on an address where something else speaks than the configuration says. The doctor and `check --connect` give it when a
//! server can't be used.

use store_redis::{Protocol, Spoken, Store};

/// What speaks at an address, and which settings are to be corrected.
pub(crate) struct Verdict {
    /// Host and port.
    pub(crate) server: String,
    pub(crate) problem: String,
    pub(crate) remedy: &'static str,
}

/// The verdicts on the configured addresses; none where the protocol is right, or nothing answers.
pub(crate) async fn verdicts(store: &Store) -> Vec<Verdict> {
    let spoken = store.protocols().await;
    spoken.into_iter().filter(is_wrong).map(verdict).collect()
}

/// Whether another protocol answers than the configuration says; `false` where that is unknown.
fn is_wrong(spoken: &Spoken) -> bool {
    match spoken.found {
        Protocol::Unknown => false,
        Protocol::Http => true,
        Protocol::Either => spoken.uses_tls,
        // What speaks TLS is found by the connection.
        Protocol::Tls => !spoken.uses_tls,
        Protocol::Redis => spoken.uses_tls || spoken.is_sentinel,
        Protocol::Sentinel => spoken.uses_tls || !spoken.is_sentinel,
    }
}

fn verdict(spoken: Spoken) -> Verdict {
    let expected = match (spoken.is_sentinel, spoken.uses_tls) {
        (false, false) => "a Redis server without TLS",
        (false, true) => "a Redis server with TLS",
        (true, false) => "a sentinel without TLS",
        (true, true) => "a sentinel with TLS",
    };
    let (found, remedy) = match spoken.found {
        Protocol::Tls => (
            "a server that expects TLS",
            "set redis.tls to true (REDIS_TLS), or write rediss:// in redis.url; or name the port without TLS",
        ),
        Protocol::Http => (
            "a web server (HTTP)",
            "correct redis.host and redis.port (REDIS_HOST, REDIS_PORT), redis.url, redis.sentinels or redis.cluster",
        ),
        Protocol::Sentinel if !spoken.is_sentinel => (
            "a sentinel, which holds no keys,",
            "name it in redis.sentinels (REDIS_SENTINELS), and the name of its master in redis.sentinel_master; or name the Redis \
             server's own port, which is 6379 by default",
        ),
        Protocol::Redis if spoken.is_sentinel => (
            "a Redis server, and no sentinel,",
            "name the sentinels' port in redis.sentinels (REDIS_SENTINELS), which is 26379 by default; or the server in redis.host, \
             without redis.sentinels",
        ),
        _ => (
            "a server without TLS",
            "set redis.tls to false (REDIS_TLS), or write redis:// in redis.url; or name the port with TLS",
        ),
    };
    let problem = format!("the configuration expects {expected} here, and {found} answers");
    Verdict { server: spoken.server, problem, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_right_or_unknown_is_not_called_wrong() {
        let wrong = |is_sentinel, uses_tls, found| {
            is_wrong(&Spoken { server: String::new(), is_sentinel, uses_tls, found })
        };
        use Protocol::{Either, Http, Redis, Sentinel, Tls, Unknown};
        assert!(wrong(false, false, Tls) && wrong(false, true, Redis) && wrong(false, false, Sentinel));
        assert!(wrong(true, false, Redis) && wrong(true, true, Sentinel) && wrong(true, true, Http));
        assert!(!wrong(false, false, Redis) && !wrong(true, false, Sentinel) && !wrong(true, true, Tls));
        assert!(wrong(false, true, Either) && !wrong(false, false, Either) && !wrong(true, false, Either));
        assert!(!wrong(false, false, Unknown) && !wrong(true, true, Unknown));
    }
}
