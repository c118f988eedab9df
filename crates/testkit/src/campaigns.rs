//! A small world of campaigns: runs whose jobs are queued, worked on, and succeed or fail, as the workers of real campaigns do it,
//! with the truth of what was written. May change rows of a database that has the users' tables. Never panics: the demo uses it.
//!
//! Every change is one statement, so that the tables are consistent at every moment.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::dice::Dice;
use crate::postgres::{Postgres, PostgresError};

/// The user that owns all campaigns but the last.
pub const OWNER: &str = "5e0c1a4e-8a53-4b1e-9b42-0d6a3c7f0001";
/// The owner of the last one.
const STRANGER: &str = "5e0c1a4e-8a53-4b1e-9b42-0d6a3c7f0002";
/// Rounds that a campaign is paused for, and after which it is paused again.
const PAUSED: (u64, u64) = (10, 45);
/// Rounds in which most jobs of a campaign fail, and after which they do again.
const FAILS: (u64, u64) = (20, 60);
/// How many jobs of a run are queued, worked on, or done in a round, at most.
const MOST_A_ROUND: u64 = 5;

/// What a campaign is.
struct Plan {
    id: &'static str,
    name: &'static str,
    owner: &'static str,
    /// The queues of each of its runs: it has as many runs at the same time.
    runs: &'static [&'static [&'static str]],
    /// How many jobs a run has, at least; some have twice as many.
    jobs: u64,
    /// Of a hundred jobs, so many fail.
    fails: u64,
    /// Whether it is paused now and then.
    pauses: bool,
    /// Whether it has times in which most of its jobs fail.
    has_bad_times: bool,
}

const PLANS: [Plan; 4] = [
    Plan {
        id: "c0ffee00-0000-4000-8000-000000000001",
        name: "Harbour market",
        owner: OWNER,
        runs: &[&["gather", "trade-buy", "trade-sell"]],
        jobs: 60,
        fails: 4,
        pauses: false,
        has_bad_times: true,
    },
    Plan {
        id: "c0ffee00-0000-4000-8000-000000000002",
        name: "Two ways",
        owner: OWNER,
        runs: &[&["distribute", "fund"], &["trade-sell"]],
        jobs: 30,
        fails: 8,
        pauses: false,
        has_bad_times: false,
    },
    Plan {
        id: "c0ffee00-0000-4000-8000-000000000003",
        name: "Night shift",
        owner: OWNER,
        runs: &[&["trade-buy"]],
        jobs: 45,
        fails: 2,
        pauses: true,
        has_bad_times: false,
    },
    Plan {
        id: "c0ffee00-0000-4000-8000-000000000004",
        name: "Somebody else's",
        owner: STRANGER,
        runs: &[&["trade-buy"]],
        jobs: 30,
        fails: 5,
        pauses: false,
        has_bad_times: false,
    },
];

/// A run that is running.
struct Run {
    plan: &'static Plan,
    queues: &'static [&'static str],
    id: String,
    /// How many jobs are still to be queued.
    left: u64,
}

/// A run as its rows are now.
#[derive(Clone, Debug, PartialEq)]
pub struct RunTruth {
    /// Its id.
    pub run: String,
    /// Its campaign.
    pub campaign: String,
    /// Whether the campaign is the owner's.
    pub is_owners: bool,
    /// `running`, or how it ended.
    pub status: String,
    /// The figures of its rows, by COUNT(*) and sums, under their names in the summary.
    pub figures: Value,
    /// Its summary as the table has it.
    pub summary: Option<Value>,
}

/// The campaigns, and the connection that changes them.
pub struct CampaignWorld {
    client: Client,
    port: u16,
    dice: Dice,
    rounds: u64,
    /// How many runs there have been.
    begun: u64,
    runs: Vec<Run>,
    paused: bool,
    failing: bool,
}

impl CampaignWorld {
    /// Makes the campaigns in a database whose tables are empty.
    ///
    /// # Errors
    /// When the server takes no connection or refuses a statement.
    pub async fn new(postgres: &Postgres, database: &str, seed: u64) -> Result<Self, PostgresError> {
        let (client, dice) = (postgres.admin(database).await?, Dice::new(seed));
        let mut world = Self {
            client,
            port: postgres.port(),
            dice,
            rounds: 0,
            begun: 0,
            runs: Vec::new(),
            paused: false,
            failing: false,
        };
        // What fails, and how long it takes, is chosen by the server.
        world.run(&format!("SELECT setseed({})", (seed % 1_000) as f64 / 1_000.0)).await?;
        for plan in &PLANS {
            let Plan { id, name, owner, .. } = plan;
            let name = name.replace('\'', "''");
            let params = json!({ "alert_threshold": 0.8 });
            world
                .run(&format!(
                    "INSERT INTO campaigns (id, user_id, name, status, params) \
                     VALUES ('{id}', '{owner}', '{name}', 'active', '{params}')"
                ))
                .await?;
            for queues in plan.runs {
                world.begin(plan, queues).await?;
            }
        }
        Ok(world)
    }

    /// The ids of the campaigns of [`OWNER`].
    pub fn campaigns() -> impl Iterator<Item = &'static str> {
        PLANS.iter().filter(|plan| plan.owner == OWNER).map(|plan| plan.id)
    }

    /// The id of a campaign of somebody else.
    #[must_use]
    pub fn of_another() -> &'static str {
        PLANS[PLANS.len() - 1].id
    }

    /// A round of changes; returns what is worth telling.
    ///
    /// # Errors
    /// When the server does not answer, or refuses a statement.
    pub async fn round(&mut self) -> Result<Vec<String>, PostgresError> {
        self.rounds += 1;
        let mut news = Vec::new();
        let (now, again) = (self.rounds % PAUSED.1, self.rounds % FAILS.1);
        self.pause(now >= PAUSED.1 - PAUSED.0, &mut news).await?;
        let failing = again >= FAILS.1 - FAILS.0;
        if failing != self.failing {
            self.failing = failing;
            let bad = PLANS.iter().filter(|plan| plan.has_bad_times);
            let change = if failing { "most jobs fail" } else { "jobs succeed again" };
            news.extend(bad.map(|plan| format!("campaign {}: {change}", plan.name)));
        }
        for mut run in std::mem::take(&mut self.runs) {
            if self.paused && run.plan.pauses {
                self.runs.push(run);
                continue;
            }
            if self.advance(&mut run).await? {
                self.runs.push(run);
            } else {
                news.push(format!("campaign {}: a run is completed, and the next one begins", run.plan.name));
                self.begin(run.plan, run.queues).await?;
            }
        }
        Ok(news)
    }

    /// Ends pauses. From then on nothing changes unless [`Self::round`] is called.
    ///
    /// # Errors
    /// As [`Self::round`].
    pub async fn stand_still(&mut self) -> Result<(), PostgresError> {
        self.pause(false, &mut Vec::new()).await
    }

    /// All runs as their rows are now.
    ///
    /// # Errors
    /// As [`Self::round`].
    pub async fn truth(&self) -> Result<Vec<RunTruth>, PostgresError> {
        let truth = |row: &tokio_postgres::Row| {
            Ok(RunTruth {
                run: row.try_get(0)?,
                campaign: row.try_get(1)?,
                is_owners: row.try_get::<_, &str>(2)? == OWNER,
                status: row.try_get(3)?,
                figures: row.try_get(4)?,
                summary: row.try_get(5)?,
            })
        };
        let rows = self.client.query(TRUTH, &[]).await;
        let all = rows.and_then(|rows| rows.iter().map(truth).collect());
        all.map_err(|source| self.refused(TRUTH, source))
    }

    /// Begins a run.
    async fn begin(
        &mut self,
        plan: &'static Plan,
        queues: &'static [&'static str],
    ) -> Result<(), PostgresError> {
        self.begun += 1;
        let id = format!("0ddba11d-0000-4000-8000-{:012x}", self.begun);
        let statement = format!("INSERT INTO campaign_runs (id, campaign_id) VALUES ('{id}', '{}')", plan.id);
        self.run(&statement).await?;
        let left = plan.jobs * (1 + self.dice.roll(2));
        self.runs.push(Run { plan, queues, id, left });
        Ok(())
    }

    /// Queues jobs of a run, begins some and finishes others; false once all are done and the run is completed.
    async fn advance(&mut self, run: &mut Run) -> Result<bool, PostgresError> {
        let Run { plan, queues, id, left } = run;
        let fails = if plan.has_bad_times && self.failing { 70 } else { plan.fails };
        let (done, taken) = (1 + self.dice.roll(MOST_A_ROUND), 1 + self.dice.roll(MOST_A_ROUND));
        self.run(&finished(id, fails, done)).await?;
        self.run(&begun(id, taken)).await?;
        let many = self.dice.roll(MOST_A_ROUND).min(*left);
        *left -= many;
        for _ in 0..many {
            // The remainder is less than their number.
            let queue = queues[self.dice.roll(queues.len() as u64) as usize];
            self.run(&format!(
                "INSERT INTO jobs (run_id, queue, type, payload) VALUES ('{id}', '{queue}', '{queue}', '{{}}')"
            ))
            .await?;
        }
        if *left > 0 {
            return Ok(true);
        }
        let completed = format!(
            "UPDATE campaign_runs SET status = 'completed', ended_at = now() WHERE id = '{id}' AND NOT EXISTS \
             (SELECT FROM jobs WHERE run_id = '{id}' AND queue <> 'status' AND status IN ('queued', 'processing'))"
        );
        let count = self.client.execute(completed.as_str(), &[]).await;
        Ok(count.map_err(|source| self.refused(&completed, source))? == 0)
    }

    async fn pause(&mut self, pause: bool, news: &mut Vec<String>) -> Result<(), PostgresError> {
        if pause == self.paused {
            return Ok(());
        }
        let (status, change) = if pause { ("paused", "paused") } else { ("active", "active again") };
        for plan in PLANS.iter().filter(|plan| plan.pauses) {
            let statement = format!(
                "UPDATE campaigns SET status = '{status}', updated_at = now() WHERE id = '{}'",
                plan.id
            );
            self.run(&statement).await?;
            news.push(format!("campaign {}: {change}", plan.name));
        }
        self.paused = pause;
        Ok(())
    }

    async fn run(&self, statement: &str) -> Result<(), PostgresError> {
        self.client.batch_execute(statement).await.map_err(|source| self.refused(statement, source))
    }

    fn refused(&self, statement: &str, source: tokio_postgres::Error) -> PostgresError {
        PostgresError::Statement {
            statement: statement.trim().chars().take(80).collect(),
            port: self.port,
            source,
        }
    }
}

/// Takes queued jobs of a run into work, the oldest first.
fn begun(run: &str, many: u64) -> String {
    format!(
        "UPDATE jobs SET status = 'processing', attempts = attempts + 1, updated_at = now() WHERE id IN \
         (SELECT id FROM jobs WHERE run_id = '{run}' AND queue <> 'status' AND status = 'queued' \
          ORDER BY created_at, id LIMIT {many})"
    )
}

/// Finishes jobs in work, with an execution for each that succeeds.
fn finished(run: &str, fails: u64, many: u64) -> String {
    format!(
        "WITH chosen AS (SELECT id, random() * 100 < {fails} AS fails FROM jobs \
           WHERE run_id = '{run}' AND queue <> 'status' AND status = 'processing' ORDER BY created_at, id LIMIT {many}), \
         done AS (UPDATE jobs SET status = CASE WHEN fails THEN 'failed' ELSE 'succeeded' END, updated_at = now(), \
             error = CASE WHEN fails THEN '{{\"message\": \"the block hash has expired\"}}'::jsonb END \
           FROM chosen WHERE jobs.id = chosen.id RETURNING jobs.id, jobs.status) \
         INSERT INTO executions (job_id, tx_signature, latency_ms, result) \
         SELECT id, md5(id::text), 150 + (random() * random() * 2000)::int, \
             jsonb_build_object('tip_lamports', 10000 + (random() * 5000)::int, 'fee_lamports', 5000) \
         FROM done WHERE status = 'succeeded'"
    )
}

/// The figures of every run, by COUNT(*) of its rows.
const TRUTH: &str = "
    SELECT r.id::text, r.campaign_id::text, c.user_id::text, r.status,
        (SELECT jsonb_build_object(
            'totalJobs', count(*),
            'succeededJobs', count(*) FILTER (WHERE j.status = 'succeeded'),
            'failedJobs', count(*) FILTER (WHERE j.status = 'failed'),
            'queuedJobs', count(*) FILTER (WHERE j.status = 'queued'),
            'runningJobs', count(*) FILTER (WHERE j.status = 'processing'),
            'cancelledJobs', count(*) FILTER (WHERE j.status = 'cancelled'))
         FROM jobs j WHERE j.run_id = r.id AND j.queue <> 'status')
        || (SELECT jsonb_build_object(
            'totalExecutions', count(*),
            'tipLamports', coalesce(sum((e.result ->> 'tip_lamports')::bigint), 0),
            'feeLamports', coalesce(sum((e.result ->> 'fee_lamports')::bigint), 0))
         FROM executions e JOIN jobs j ON j.id = e.job_id WHERE j.run_id = r.id AND j.queue <> 'status'),
        r.summary
    FROM campaign_runs r JOIN campaigns c ON c.id = r.campaign_id ORDER BY r.started_at, r.id";
