//! The steps of the migration, and the objects that they make. No I/O.

/// The schema of ours.
pub(crate) const SCHEMA: &str = "state_tracker";
/// What our triggers and indexes on the users' tables begin with.
pub(crate) const PREFIX: &str = "state_tracker_";
/// A step of the migration. It is one transaction, and may be applied again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Rising, and never used for something else later.
    pub version: i32,
    /// What operators see.
    pub name: &'static str,
    /// The users' table that it locks for a moment.
    pub table: Option<&'static str>,
    /// The triggers that it makes on that table.
    pub triggers: &'static [&'static str],
    /// What is executed.
    pub statements: &'static str,
}

/// All steps, in their order.
pub(crate) const STEPS: [Step; 5] = [
    Step { version: 1, name: "schema", table: None, triggers: &[], statements: include_str!("schema.sql") },
    Step {
        version: 2,
        name: "functions",
        table: None,
        triggers: &[],
        statements: include_str!("functions.sql"),
    },
    Step {
        version: 3,
        name: "triggers of campaign_runs",
        table: Some("campaign_runs"),
        triggers: &["state_tracker_run_inserted", "state_tracker_run_updated"],
        statements: include_str!("triggers_runs.sql"),
    },
    Step {
        version: 4,
        name: "triggers of jobs",
        table: Some("jobs"),
        triggers: &[
            "state_tracker_job_inserted",
            "state_tracker_job_updated",
            "state_tracker_job_moved",
            "state_tracker_job_deleted",
            "state_tracker_jobs_truncated",
        ],
        statements: include_str!("triggers_jobs.sql"),
    },
    Step {
        version: 5,
        name: "triggers of executions",
        table: Some("executions"),
        triggers: &[
            "state_tracker_execution_inserted",
            "state_tracker_execution_updated",
            "state_tracker_execution_deleted",
            "state_tracker_executions_truncated",
        ],
        statements: include_str!("triggers_executions.sql"),
    },
];

/// The tables of our schema.
pub(crate) const TABLES: [&str; 11] = [
    "migration",
    "summaries",
    "job_changes",
    "execution_changes",
    "intact",
    "run_counts",
    "job_counts",
    "latency_bins",
    "held_jobs",
    "held_executions",
    "changed_jobs",
];

/// The functions of our schema; none has a parameter.
pub(crate) const FUNCTIONS: [&str; 10] = [
    "job_inserted",
    "job_updated",
    "job_moved",
    "job_deleted",
    "jobs_truncated",
    "execution_inserted",
    "execution_updated",
    "execution_deleted",
    "executions_truncated",
    "run_changed",
];

/// An identifier in quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_name_what_the_statements_make() {
        let all: String = STEPS.iter().map(|step| step.statements).collect();
        let made = |what: &str| {
            let parts = all.split(what).skip(1);
            let names = parts.map(|rest| rest.split([' ', '(']).next().unwrap().to_owned());
            names.collect::<Vec<String>>()
        };
        assert_eq!(made("TABLE IF NOT EXISTS state_tracker."), TABLES);
        assert_eq!(made("OR REPLACE FUNCTION state_tracker."), FUNCTIONS);
        let triggers: Vec<&str> = STEPS.iter().flat_map(|step| step.triggers).copied().collect();
        assert_eq!(made("OR REPLACE TRIGGER "), triggers);
        assert!(triggers.iter().all(|name| name.starts_with(PREFIX)));
        assert!(STEPS.windows(2).all(|pair| pair[0].version < pair[1].version));
    }

    #[test]
    fn no_trigger_function_looks_a_name_up_in_the_search_path() {
        let functions = STEPS[1].statements;
        let code: String =
            functions.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
        let bare = code.replace("OPERATOR(pg_catalog.", "OPERATOR(");
        for sign in [" = ", " < ", " > ", " <= ", " <> ", " || ", " IN (", " LIKE ", " DISTINCT FROM "] {
            assert!(!bare.contains(sign), "{sign}");
        }
        for name in ["count(", "array_agg(", "octet_length(", "left(", "sum(", "pg_notify("] {
            assert_eq!(
                code.matches(name).count(),
                code.matches(&format!("pg_catalog.{name}")).count(),
                "{name}"
            );
        }
    }
}
