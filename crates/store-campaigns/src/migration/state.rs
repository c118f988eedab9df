//! What is there of the migration. Any role may look.

use std::collections::BTreeSet;

use super::steps::{PREFIX, SCHEMA, STEPS, Step, TABLES};
use crate::database::Database;
use crate::error::DatabaseError;
use crate::operations::INSPECT_MIGRATION;

/// How much of the migration is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MigrationKind {
    /// Nothing.
    #[default]
    Absent,
    /// Some of it: it was interrupted, or another program removed or disabled parts.
    Partial,
    /// All of it.
    Applied,
    /// More than this version of the program knows.
    Newer,
    /// A schema of our name that holds something else.
    Foreign,
}

/// What is there of the migration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationState {
    /// How much of it is there.
    pub kind: MigrationKind,
    /// The steps that are missing or damaged, by name.
    pub missing: Vec<&'static str>,
    /// Whether this role may use our schema.
    pub is_usable: bool,
    /// Whether changes of runs may be notified: not where the server allows prepared transactions, which a notification would
    /// refuse, unless the database's setting `state_tracker.notify` is `on`.
    pub may_notify: bool,
    /// Our indexes on the users' tables that are valid, with their schema.
    pub indexes: Vec<String>,
    /// Our indexes whose building failed. They are in nobody's way but cost writers time: the migration removes them.
    pub invalid_indexes: Vec<String>,
    pub(super) missing_versions: Vec<i32>,
}

impl MigrationState {
    /// Whether the run's notifications are there.
    #[must_use]
    pub fn notifies(&self) -> bool {
        self.may_notify && self.has("campaign_runs")
    }

    /// Whether changes of jobs and executions are appended for the incremental counts.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.is_usable && self.has("jobs") && self.has("executions")
    }

    /// Whether there is a history of summaries.
    #[must_use]
    pub fn keeps_summaries(&self) -> bool {
        let is_known = matches!(self.kind, MigrationKind::Applied | MigrationKind::Partial);
        self.is_usable && is_known && !self.missing.contains(&STEPS[0].name)
    }

    fn has(&self, table: &str) -> bool {
        let is_known = matches!(self.kind, MigrationKind::Applied | MigrationKind::Partial);
        let is_missing = |step: &&Step| self.missing_versions.contains(&step.version);
        let needs = |step: &&Step| step.table.is_none() || step.table == Some(table);
        is_known && !STEPS.iter().filter(needs).any(|step| is_missing(&step))
    }
}

/// One row: whether the schema is there and may be used, our tables, our functions, our enabled triggers, our indexes, and whether
/// `run_changed` notifies.
const LOOK: &str = "SELECT n.oid IS NOT NULL, coalesce(has_schema_privilege(n.oid, 'USAGE'), false), \
     ARRAY(SELECT relname::text FROM pg_class WHERE relnamespace = n.oid AND relkind IN ('r', 'p', 'v', 'm', 'f') LIMIT 100), \
     ARRAY(SELECT proname::text FROM pg_proc WHERE pronamespace = n.oid LIMIT 100), \
     ARRAY(SELECT t.tgname::text FROM pg_trigger t WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') \
       AND t.tgname LIKE $1 AND t.tgrelid IN (to_regclass('campaign_runs'), to_regclass('jobs'), to_regclass('executions')) \
       LIMIT 100), \
     ARRAY(SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
       WHERE c.relname LIKE $1 AND i.indisvalid AND i.indrelid IN (to_regclass('campaigns'), to_regclass('campaign_runs'), \
       to_regclass('jobs'), to_regclass('executions')) LIMIT 100), \
     ARRAY(SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
       WHERE c.relname LIKE $1 AND NOT i.indisvalid AND i.indrelid IN (to_regclass('campaigns'), \
       to_regclass('campaign_runs'), to_regclass('jobs'), to_regclass('executions')) LIMIT 100), \
     current_setting('max_prepared_transactions') = '0' OR coalesce(current_setting('state_tracker.notify', true), '') = 'on' \
     FROM (SELECT) AS one LEFT JOIN pg_namespace n ON n.nspname = $2";

impl Database {
    /// What is there of the migration.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn migration(&self) -> Result<MigrationState, DatabaseError> {
        use tokio_postgres::types::Type;
        let pattern = format!("{}%", PREFIX.replace('_', "\\_"));
        let rows =
            self.read(INSPECT_MIGRATION, LOOK, &[(&pattern, Type::TEXT), (&SCHEMA, Type::TEXT)]).await?;
        let mut state = MigrationState {
            kind: MigrationKind::Absent,
            missing: Vec::new(),
            is_usable: false,
            may_notify: true,
            indexes: Vec::new(),
            invalid_indexes: Vec::new(),
            missing_versions: STEPS.map(|step| step.version).to_vec(),
        };
        let Some(row) = rows.first() else { return Ok(state) };
        let set = |index: usize| row.get::<_, Vec<String>>(index).into_iter().collect::<BTreeSet<String>>();
        let (exists, tables, functions, triggers) = (row.get::<_, bool>(0), set(2), set(3), set(4));
        state.is_usable = row.get(1);
        state.indexes = row.get(5);
        state.invalid_indexes = row.get(6);
        state.may_notify = row.get(7);
        let is_ours = tables.contains("migration") && tables.contains("run_counts");
        if exists && !is_ours && !(tables.is_empty() && functions.is_empty()) {
            state.kind = MigrationKind::Foreign;
        } else if is_ours && !state.is_usable {
            // The versions can't be read: the objects tell enough.
            state.missing_versions = missing(None, &tables, &functions, &triggers);
        } else if is_ours {
            let versions = "SELECT version FROM state_tracker.migration ORDER BY version LIMIT 1000";
            let rows = self.read(INSPECT_MIGRATION, versions, &[]).await?;
            let versions: BTreeSet<i32> = rows.iter().map(|row| row.get(0)).collect();
            if versions.last() > STEPS.last().map(|step| &step.version) {
                state.kind = MigrationKind::Newer;
                state.missing_versions = Vec::new();
                return Ok(state);
            }
            state.missing_versions = missing(Some(&versions), &tables, &functions, &triggers);
        }
        if state.kind != MigrationKind::Foreign {
            let is_nothing = !exists && triggers.is_empty() && state.indexes.is_empty();
            let is_all = state.missing_versions.is_empty() && state.invalid_indexes.is_empty();
            state.kind = match (is_nothing, is_all) {
                (true, _) => MigrationKind::Absent,
                (false, true) => MigrationKind::Applied,
                (false, false) => MigrationKind::Partial,
            };
        }
        let names = STEPS.iter().filter(|step| state.missing_versions.contains(&step.version));
        state.missing = names.map(|step| step.name).collect();
        Ok(state)
    }
}

/// The steps that are not recorded, or whose objects are not all there.
fn missing(
    versions: Option<&BTreeSet<i32>>,
    tables: &BTreeSet<String>,
    functions: &BTreeSet<String>,
    triggers: &BTreeSet<String>,
) -> Vec<i32> {
    let is_missing = |step: &&Step| {
        let unrecorded = versions.is_some_and(|versions| !versions.contains(&step.version));
        let incomplete = match step.name {
            "schema" => TABLES.iter().any(|name| !tables.contains(*name)),
            "functions" => super::steps::FUNCTIONS.iter().any(|name| !functions.contains(*name)),
            _ => step.triggers.iter().any(|name| !triggers.contains(*name)),
        };
        unrecorded || incomplete
    };
    STEPS.iter().filter(is_missing).map(|step| step.version).collect()
}
