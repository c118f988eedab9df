//! What to do about errors of the database of campaigns. Pure.

use store_campaigns::DatabaseErrorKind as Kind;

/// The remedy of a kind.
pub(super) fn of_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Away => "check that PostgreSQL runs at this address (campaigns.database_url)",
        Kind::Slow => {
            "find out what holds the database up (pg_stat_activity), or raise campaigns.statement_timeout or \
             campaigns.computation_timeout"
        }
        Kind::Crowded => {
            "raise max_connections of PostgreSQL or the pool of PgBouncer, or lower campaigns.connections"
        }
        Kind::ReadOnly => "name the primary in campaigns.database_url; this server takes no writes",
        Kind::Full => "free space on the database's disk, or give it more memory",
        Kind::Conflict => "it is tried again; if it stays, find out what changes the same rows (pg_locks)",
        Kind::Refused => "correct role, password and database in campaigns.database_url",
        Kind::Denied => {
            "grant the role what docs/campaigns.md names: SELECT on the four tables, UPDATE of campaign_runs, and INSERT, UPDATE and \
             DELETE of jobs"
        }
        Kind::Hidden => {
            "row-level security hides the rows: give the role BYPASSRLS, or policies for reading and writing"
        }
        Kind::Missing => "check that campaigns.database_url names the database with the tables of campaigns",
        Kind::BadData => "correct the row that the message names",
        Kind::Tls => {
            "check campaigns.database_ca_file and sslmode in campaigns.database_url: the server's certificate must be trusted"
        }
        Kind::Failed => "see the message of PostgreSQL",
    }
}
