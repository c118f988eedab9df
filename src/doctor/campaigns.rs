//! Goes through the steps by which an operator finds out why no status arrives (docs/campaigns.md): the database as it was inspected, the
//! work on runs, the queue, the migration, the port of clients. Pure but for [`examine`].

use std::time::Duration;

use store_campaigns::{Database, Inspection, MigrationKind, MigrationState, Progress, Queue};
use tokio::{net::TcpStream, time::timeout};

use super::finding::Finding;
use crate::{config::Config, remedy, service};

/// A transaction that is open for longer keeps dead rows, and each count reads them.
const OLD_TRANSACTION: Duration = Duration::from_mins(10);
/// Job rows that wait for longer are a backlog.
const OLD_JOB: Duration = Duration::from_mins(2);

/// Below this the interval is shorter than recommended.
const SHORT_INTERVAL: Duration = Duration::from_secs(10);
/// How long the port of clients may take to take a connection.
const PORT_WITHIN: Duration = Duration::from_secs(2);
/// How the finding of a database without the migration begins.
pub(crate) const NOT_MIGRATED: &str = "the migration was not run";
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
    let settings = &config.campaigns;
    let examined = async {
        let (inspection, migration) = (database.inspect().await?, database.migration().await?);
        // Without its tables or rights nothing else can be asked for.
        let work = if inspection.is_usable() {
            Some((database.queue().await?, database.progress(settings.interval * 3).await?))
        } else {
            None
        };
        Ok((inspection, migration, work))
    };
    Ok(match examined.await {
        Ok((inspection, migration, work)) => {
            let mut findings = judge(&object, &inspection, settings.scheduler);
            if let Some((queue, progress)) = work {
                findings.extend(judge_progress(&object, &progress, settings.interval));
                findings.extend(judge_queue(&object, &queue));
            }
            findings.extend(judge_migration(&object, &migration));
            findings.extend(port(config).await);
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

/// Whether runs are counted, and whether as often as they should be.
fn judge_progress(object: &str, progress: &Progress, interval: Duration) -> Vec<Finding> {
    let Progress { to_count, without_summary, last_job, longest } = *progress;
    let note = |problem: String, remedy: &str| Finding::note("campaigns", object, problem, remedy);
    let warning = |problem: String, remedy: &str| Finding::warning("campaigns", object, problem, remedy);
    let mut findings = Vec::new();
    if to_count == 0 {
        let problem = "no campaign is active with a running run: nothing is to be counted".to_owned();
        findings.push(note(problem, "activate a campaign and start a run, if one should be counted"));
    }
    let is_late = last_job.is_none_or(|ago| ago > (interval * 3).max(Duration::from_mins(1)));
    if to_count > 0 && is_late {
        let since = last_job.map_or("no status job has ended yet".to_owned(), |ago| {
            format!("the last status job ended {} ago", errors::rounded(ago))
        });
        let problem = format!("{to_count} runs are to be counted, and {since}");
        let remedy = "see whether a process with campaigns.scheduler runs: `campaigns: scheduler` in its /readyz?verbose, and the \
                      line `campaign scheduler: found active runs` in its log";
        findings.push(warning(problem, remedy));
    } else if without_summary > 0 {
        let problem = format!("{without_summary} of {to_count} runs to be counted have no summary");
        let remedy = "find out which statement fails: `finish_status_job` or `compute_metrics` in the log, and `state-tracker campaigns \
                      jobs list`";
        findings.push(warning(problem, remedy));
    }
    if longest.is_some_and(|took| took * 10 > interval) {
        let took = longest.unwrap_or_default();
        let problem = format!(
            "a run takes {} to count: with the pause of nine times that it is counted every {}",
            errors::rounded(took),
            errors::rounded(took * 10)
        );
        let remedy =
            "run `state-tracker campaigns migrate`, which counts by changes, or raise campaigns.interval";
        findings.push(note(problem, remedy));
    }
    if interval < SHORT_INTERVAL {
        let problem =
            format!("each run is counted every {}, which costs the database much", errors::rounded(interval));
        findings.push(note(problem, "raise campaigns.interval to 20 or 30 s, if its load is too high"));
    }
    findings
}

/// Whether the monitor hears of changes.
fn judge_migration(object: &str, state: &MigrationState) -> Vec<Finding> {
    let warning = |problem: String, remedy: &str| Finding::warning("campaigns", object, problem, remedy);
    let mut findings = Vec::new();
    match state.kind {
        MigrationKind::Absent => {
            let problem = format!("{NOT_MIGRATED}: changes are found by polling, and job:status is not sent");
            let remedy = "nothing, or `state-tracker campaigns migrate`";
            findings.push(Finding::note("campaigns", object, problem, remedy));
        }
        MigrationKind::Partial => {
            let problem = format!("parts of the migration are missing: {}", state.missing.join(", "));
            findings.push(warning(problem, "run `state-tracker campaigns migrate` again"));
        }
        MigrationKind::Applied => {}
        MigrationKind::Newer => findings.push(warning(
            "a newer version of this program has migrated the database".to_owned(),
            "update this program",
        )),
        MigrationKind::Foreign => findings.push(warning(
            "the schema state_tracker belongs to another program".to_owned(),
            "nothing: changes are found by polling",
        )),
    }
    if state.kind == MigrationKind::Applied && !state.is_usable {
        let problem = "the role may not use the schema state_tracker".to_owned();
        findings.push(warning(
            problem,
            "run `state-tracker campaigns migrate --service ROLE` again, as the owner of the tables",
        ));
    }
    findings
}

/// Whether anything listens where clients connect, if that is said to be here.
async fn port(config: &Config) -> Option<Finding> {
    let address = config.campaigns.gateway_address;
    if !config.campaigns.serves() || address.port() == 0 {
        return None;
    }
    let is_open = timeout(PORT_WITHIN, TcpStream::connect(address)).await.is_ok_and(|opened| opened.is_ok());
    (!is_open).then(|| {
        let problem = "nothing listens where clients of campaigns connect".to_owned();
        let remedy =
            "start the service, or correct campaigns.gateway_address; no fault while no service runs";
        Finding::note("campaigns", address.to_string(), problem, remedy)
    })
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
    fn runs_that_nobody_counts_are_found_and_so_are_those_that_cost_too_much() {
        let interval = Duration::from_secs(15);
        let found = |progress: Progress| {
            let findings = judge_progress("db", &progress, interval);
            findings.iter().map(|finding| finding.problem.clone()).collect::<Vec<_>>().join("; ")
        };
        let well = Progress {
            to_count: 3,
            without_summary: 0,
            last_job: Some(Duration::from_secs(5)),
            longest: Some(Duration::from_millis(20)),
        };
        assert_eq!(found(well), "");
        assert!(found(Progress::default()).contains("nothing is to be counted"));
        let never = Progress { last_job: None, ..well };
        assert_eq!(found(never), "3 runs are to be counted, and no status job has ended yet");
        let long_ago = Progress { last_job: Some(Duration::from_mins(5)), ..well };
        assert!(found(long_ago).ends_with("the last status job ended 5m ago"), "{}", found(long_ago));
        assert!(
            found(Progress { without_summary: 2, ..well })
                .contains("2 of 3 runs to be counted have no summary")
        );
        assert!(
            found(Progress { longest: Some(Duration::from_secs(2)), ..well }).contains("counted every 20s")
        );
        let short = judge_progress("db", &well, Duration::from_secs(1));
        assert!(short.iter().any(|finding| finding.problem.contains("counted every 1s")), "{short:?}");
    }

    #[test]
    fn a_database_without_the_migration_has_a_note_and_one_with_a_part_of_it_a_warning() {
        let mut state = MigrationState::default();
        assert!(judge_migration("db", &state)[0].problem.starts_with(NOT_MIGRATED));
        state.kind = MigrationKind::Partial;
        state.missing = vec!["the trigger on jobs"];
        assert!(judge_migration("db", &state)[0].problem.contains("the trigger on jobs"));
        state.kind = MigrationKind::Applied;
        assert!(judge_migration("db", &state)[0].problem.contains("may not use the schema"));
        state.is_usable = true;
        assert!(judge_migration("db", &state).is_empty());
    }

    #[test]
    fn a_backlog_and_dead_letters_are_found() {
        let queue = Queue { queued: 3, processing: 0, dead: 2, oldest: Duration::from_mins(5) };
        let findings = judge_queue("db", &queue);
        assert_eq!(findings.len(), 2);
        assert!(judge_queue("db", &Queue::default()).is_empty());
    }
}
