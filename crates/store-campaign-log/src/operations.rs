//! What this crate attempts.

errors::table! {
    /// Every operation of this crate.
    ALL: Operation;
    APPEND_EVENTS: "append_events", "append campaign events to the log";
    READ_EVENTS: "read_campaign_events", "read the log of a campaign";
    READ_LATEST: "read_latest", "read the latest statuses of a campaign";
    READ_WATCHED: "read_watched_runs", "read or write the list of watched runs";
    SAVE_SESSION: "save_session", "save the session of a client";
    READ_SESSION: "read_session", "read the session of a client";
}
