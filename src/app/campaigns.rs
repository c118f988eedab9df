//! `campaigns`: shows the queue of status jobs, and what operators do with dead letters, beside services that run.

use std::process::ExitCode;

use color_eyre::eyre::{Result, WrapErr as _, bail, ensure};
use domain::campaigns::JobId;
use serde_json::{Value, json};
use store_campaigns::{Database, DeadLetter, Migrated, MigrationKind, MigrationState, Queue};

use super::output::print;
use crate::{
    cli::{CampaignsAction, JobsAction},
    config::Config,
    escape::escaped,
    exit::SUCCESS,
    service,
};

/// Runs a command about campaigns.
///
/// # Errors
/// No database, one that does not answer, and jobs that are no dead letters.
pub async fn campaigns(action: &CampaignsAction, config: &Config) -> Result<ExitCode> {
    ensure!(
        config.campaigns.is_enabled(),
        "there are no campaigns; set campaigns.database_url (DATABASE_URL)"
    );
    let database = Database::new(service::database_settings(&config.campaigns)?)
        .wrap_err("campaigns.database_url can't be used")?;
    match action {
        CampaignsAction::Jobs(action) => jobs(action, &database).await?,
        CampaignsAction::Migrate { service } => {
            told("made", &database.migrate(service.as_deref()).await?)?;
        }
        CampaignsAction::Undo => told("removed", &database.undo_migration().await?)?,
        CampaignsAction::State => state(&database.migration().await?)?,
    }
    Ok(SUCCESS.into())
}

/// What a migration has done.
fn told(done: &str, migrated: &Migrated) -> Result<()> {
    let Migrated { steps, indexes, refused_locks } = migrated;
    let list = |names: Vec<&str>| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    let indexes = list(indexes.iter().map(String::as_str).collect());
    let steps = list(steps.clone());
    let text = format!(
        "{done}: {steps}; indexes {done}: {indexes}; {refused_locks} locks were refused and asked for again\n"
    );
    print(&text)
}

fn state(state: &MigrationState) -> Result<()> {
    let kind = match state.kind {
        MigrationKind::Absent => {
            "the migration was not run: the monitor polls, and each run is computed in full"
        }
        MigrationKind::Partial => {
            "a part of the migration is missing; `state-tracker campaigns migrate` makes it"
        }
        MigrationKind::Applied => "the migration is there",
        MigrationKind::Newer => "a newer version of this program has migrated the database",
        MigrationKind::Foreign => "the schema state_tracker belongs to another program",
    };
    let mut text = format!("{kind}\n");
    if !state.missing.is_empty() {
        text += &format!("missing: {}\n", state.missing.join(", "));
    }
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    text += &format!(
        "changes are notified: {}; runs are counted by changes: {}\n",
        yes(state.notifies()),
        yes(state.counts())
    );
    if !state.may_notify {
        text += "the server allows prepared transactions, in which nothing may be notified; if none of yours changes campaign_runs, \
                 ALTER DATABASE ... SET state_tracker.notify = 'on' makes changes heard at once\n";
    }
    print(&text)
}

async fn jobs(action: &JobsAction, database: &Database) -> Result<()> {
    match action {
        JobsAction::List { count, json } => list(database, usize::from(*count), *json).await?,
        JobsAction::Show { id } => {
            let Some(letter) = database.dead_letter(job(id)?).await? else { bail!(unknown(id)) };
            print(&format!("{:#}\n", shown(&letter)))?;
        }
        JobsAction::Replay { id } => {
            ensure!(database.replay_dead_letter(job(id)?).await?, unknown(id));
            print(&format!("{id} is queued again\n"))?;
        }
        JobsAction::Drop { id } => {
            ensure!(database.drop_dead_letter(job(id)?).await?, unknown(id));
            print(&format!("{id} is dropped\n"))?;
        }
    }
    Ok(())
}

fn job(id: &str) -> Result<JobId> {
    id.parse().wrap_err("the id must be that of a job, a UUID")
}

fn unknown(id: &str) -> String {
    format!("no dead letter has the id {}; `state-tracker campaigns jobs list` shows them", escaped(id))
}

async fn list(database: &Database, count: usize, as_json: bool) -> Result<()> {
    let queue = database.queue().await?;
    let page = database.dead_letters(None, count).await?;
    if as_json {
        let dead: Vec<Value> = page.rows.iter().map(shown).collect();
        let Queue { queued, processing, dead: all, oldest } = queue;
        let value = json!({
            "waiting": queued,
            "processing": processing,
            "oldest_seconds": oldest.as_secs_f64(),
            "dead": all,
            "dead_letters": dead,
        });
        return print(&format!("{value:#}\n"));
    }
    let Queue { queued, processing, dead, oldest } = queue;
    let mut text = format!(
        "{queued} wait, the oldest for {}; {processing} are in work; {dead} are dead letters\n",
        errors::rounded(oldest)
    );
    text.extend(page.rows.iter().map(line));
    if page.next.is_some() {
        text += "there are more: repeat with a larger --count\n";
    }
    print(&text)
}

fn line(letter: &DeadLetter) -> String {
    let message = letter.letter.pointer("/error/message").and_then(Value::as_str).unwrap_or("no message");
    format!(
        "{}  run {}  {}  {} attempts  {}\n",
        letter.job,
        letter.run,
        letter.failed_at,
        letter.attempts,
        escaped(&errors::sanitise(message))
    )
}

fn shown(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.job.to_string(),
        "run": letter.run.to_string(),
        "attempts": letter.attempts,
        "failedAt": letter.failed_at,
        "letter": letter.letter,
    })
}
