//! The operations of this crate.

errors::table! {
    /// Every operation of this crate.
    ALL: Operation;
    SET_UP_POOL: "set_up_pool", "set up the connection pool";
    PING_REDIS: "ping_redis", "ping Redis";
    SUBSCRIBE: "subscribe", "subscribe to the channels";
    CHANGE_SUBSCRIPTION: "change_subscription", "change the subscription";
    PING_SUBSCRIPTION: "ping_subscription", "ping the subscription";
    PROVE_SUBSCRIPTION: "prove_subscription", "prove the subscription";
    CONNECT_SERVERS: "connect_servers", "connect to each server";
    SCAN_KEYS: "scan_keys", "scan the keys";
    EXAMINE_KEYS: "examine_keys", "examine keys";
    COUNT_SUBSCRIBERS: "count_subscribers", "count the subscribers";
    QUERY_SERVER: "query_server", "query the server";
    READ_RIGHTS: "read_rights", "check the user's rights";
    QUERY_SENTINEL: "query_sentinel", "query a sentinel";
}
