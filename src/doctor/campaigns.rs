//! Judges the database of campaigns as it was inspected. Pure but for [`examine`].

use std::time::Duration;

use store_campaigns::{Database, Inspection, Queue};

use super::finding::Finding;
use crate::{config::Config, remedy, service};

/// A transaction that is open for longer keeps dead rows, and each count reads them.
const OLD_TRANSACTION: Duration = Duration::from_mins(10);
/// Job rows that wait for longer are a backlog.
const OLD_JOB: Duration = Duration::from_mins(2);

const RIGHTS: &str = "grant it; docs/campaigns.md lists what the role needs";
const SECURITY: &str = "give the role BYPASSRLS (ALTER ROLE … BYPASSRLS), or policies for reading and writing: GRANT does not help";

/// Examines the database of a configuration; nothing where campaigns don't run.
///
/// # Errors
/// Settings that make no connection.
pub(crate) async fn examine(config: &Config) -> color_eyre::Result<Vec<Finding>> {
    if !config.campaigns.is_enabled() {
        return Ok(Vec::new());
    }
    let database = Database::new(service::database_settings(&config.campaigns)?)?;
    let object = database.object().to_owned();
    let examined = async { Ok((database.inspect().await?, database.queue().await?)) };
    Ok(match examined.await {
        Ok((inspection, queue)) => {
            let mut findings = judge(&object, &inspection, config.campaigns.scheduler);
            findings.extend(judge_queue(&object, &queue));
            findings
        }
        Err(error) => {
            let error: store_campaigns::DatabaseError = error;
            vec![Finding::error("campaigns", object, errors::one_line(&error), remedy::of_database(&error))]
        }
    })
}

/// What is wrong with the database, as it was inspected; `writes` where this process runs status workers.
fn judge(object: &str, inspection: &Inspection, writes: bool) -> Vec<Finding> {
    let role = &inspection.role;
    let error = |problem: String, remedy: &str| Finding::error("campaigns", object, problem, remedy);
    let warning = |problem: String, remedy: &str| Finding::warning("campaigns", object, problem, remedy);
    let mut findings = Vec::new();
    for table in &inspection.tables {
        if !table.exists {
            let problem = format!("there is no table {}", table.name);
            findings.push(error(problem, "correct the database in campaigns.database_url"));
        } else if table.hides_rows {
            let problem = format!("row-level security hides the rows of {} from the role {role}", table.name);
            findings.push(error(problem, SECURITY));
        }
    }
    for gap in &inspection.columns {
        let problem = match &gap.found {
            Some(found) => format!("{}.{} is of the type {found}", gap.table, gap.column),
            None => format!("{} has no column {}", gap.table, gap.column),
        };
        findings
            .push(error(problem, "correct the database in campaigns.database_url, or migrate that system"));
    }
    for right in inspection.rights.iter().filter(|right| writes || right.right == "SELECT") {
        let problem = format!("the role {role} lacks the right {} on {}", right.right, right.table);
        findings.push(error(problem, RIGHTS));
    }
    if writes && inspection.is_read_only {
        let problem = "the database takes no writes".to_owned();
        findings.push(error(problem, "name the primary in campaigns.database_url"));
    }
    for index in &inspection.indexes {
        let columns = index.columns.join(", ");
        let problem = format!("there is no index on {}({columns}): {}", index.table, index.cost);
        let remedy = format!("CREATE INDEX CONCURRENTLY ON {} ({columns})", index.table);
        findings.push(warning(problem, &remedy));
    }
    if inspection.oldest_transaction.is_some_and(|age| age > OLD_TRANSACTION) {
        let age = errors::rounded(inspection.oldest_transaction.unwrap_or_default());
        let problem = format!("a transaction is open for {age}: it keeps dead rows, which each count reads");
        findings.push(warning(problem, "find it in pg_stat_activity (xact_start), and end it"));
    }
    if inspection.connections * 10 > inspection.most_connections * 9 {
        let problem = format!(
            "{} of {} connections of the server are in use",
            inspection.connections, inspection.most_connections
        );
        findings.push(warning(problem, "raise max_connections, or lower campaigns.connections"));
    }
    if inspection.is_pooled {
        let problem = "a pooler gives each transaction another connection, behind which LISTEN hears nothing"
            .to_owned();
        let remedy =
            "nothing: the monitor polls. To listen, name the server itself in campaigns.database_url";
        findings.push(Finding::note("campaigns", object, problem, remedy));
    }
    if inspection.latency_is_required {
        let problem =
            "executions.latency_ms is NOT NULL without a default: workers that leave it out fail".to_owned();
        let remedy = "ALTER TABLE executions ALTER COLUMN latency_ms DROP NOT NULL, if their inserts fail";
        findings.push(Finding::note("campaigns", object, problem, remedy));
    }
    findings
}

fn judge_queue(object: &str, queue: &Queue) -> Vec<Finding> {
    let mut findings = Vec::new();
    if queue.oldest > OLD_JOB {
        let problem = format!(
            "{} status jobs wait, the oldest for {}: no worker runs, or they are too few",
            queue.queued,
            errors::rounded(queue.oldest)
        );
        let remedy =
            "run a process with campaigns.scheduler, or raise campaigns.workers or campaigns.interval";
        findings.push(Finding::warning("campaigns", object, problem, remedy));
    }
    if queue.dead > 0 {
        let problem = format!("{} status jobs are dead letters", queue.dead);
        let remedy = "`state-tracker campaigns jobs list` says why; replay or drop them";
        findings.push(Finding::warning("campaigns", object, problem, remedy));
    }
    findings
}

#[cfg(test)]
mod tests {
    use store_campaigns::{INDEXES, TableFacts};

    use super::*;

    fn inspection() -> Inspection {
        Inspection {
            version: 150_000,
            role: "service".to_owned(),
            is_superuser: false,
            is_read_only: false,
            is_pooled: false,
            connections: 1,
            most_connections: 100,
            oldest_transaction: None,
            tables: vec![TableFacts { name: "jobs", exists: true, hides_rows: false, estimated_rows: None }],
            columns: Vec::new(),
            rights: Vec::new(),
            indexes: Vec::new(),
            latency_is_required: false,
        }
    }

    #[test]
    fn a_fit_database_has_no_finding_and_each_lack_says_what_it_costs() {
        assert_eq!(judge("db", &inspection(), true), []);
        let lacking = Inspection { indexes: INDEXES.to_vec(), ..inspection() };
        let findings = judge("db", &lacking, true);
        assert_eq!(findings.len(), INDEXES.len());
        for (finding, index) in findings.iter().zip(INDEXES) {
            assert!(finding.problem.contains(index.cost) && finding.remedy.starts_with("CREATE INDEX"));
        }
        let mut hidden = inspection();
        hidden.tables[0].hides_rows = true;
        assert!(judge("db", &hidden, true)[0].remedy.contains("BYPASSRLS"));
    }

    #[test]
    fn a_backlog_and_dead_letters_are_found() {
        let queue = Queue { queued: 3, processing: 0, dead: 2, oldest: Duration::from_mins(5) };
        let findings = judge_queue("db", &queue);
        assert_eq!(findings.len(), 2);
        assert!(judge_queue("db", &Queue::default()).is_empty());
    }
}
