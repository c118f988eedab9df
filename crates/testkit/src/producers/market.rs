//! The producers of one market, step by step: each step is one pipeline of writes and events, and is added
//! to the truth once Redis has confirmed it. Writes only keys of its market.

use std::sync::Arc;

use redis::Client;
use serde_json::json;

use super::step::{DAY, HOUR, Step, WEEK, seconds};
use crate::cluster::ClusterClient;

use super::{EpochTruth, Link, ProducerConfig, ProducerError, SharedTruth, Truth, unix_now};

/// All producers of one market over one connection, which is made again after an error.
///
/// `now` is always Unix seconds. A step that failed may be repeated with the same arguments: it writes the
/// same members and is counted once (only `submissionQueue` and events may then hold duplicates).
#[derive(Debug)]
pub struct MarketProducer {
    config: Arc<ProducerConfig>,
    link: Link,
    truth: SharedTruth,
}

impl MarketProducer {
    /// Producers for the market of `config` that write to the Redis at `url`. Connects with the first step.
    ///
    /// # Errors
    /// When the URL can't be read.
    pub fn new(config: ProducerConfig, url: &str) -> Result<Self, ProducerError> {
        Ok(Self { config: Arc::new(config), link: Link::new(url)?, truth: SharedTruth::default() })
    }

    /// Producers that write through this client.
    #[must_use]
    pub fn to_server(config: ProducerConfig, client: Client) -> Self {
        Self { config: Arc::new(config), link: Link::to(client), truth: SharedTruth::default() }
    }

    /// Producers that write to this cluster.
    #[must_use]
    pub fn to_cluster(config: ProducerConfig, client: ClusterClient) -> Self {
        Self { config: Arc::new(config), link: Link::Cluster(client), truth: SharedTruth::default() }
    }

    /// From now on they write to this server, as after a failover.
    pub fn move_to(&mut self, client: Client) {
        self.link = Link::to(client);
    }

    /// The market.
    #[must_use]
    pub fn config(&self) -> &ProducerConfig {
        &self.config
    }

    /// What was written by now.
    #[must_use]
    pub fn truth(&self) -> Truth {
        self.truth.get()
    }

    /// A view of the truth that stays current.
    #[must_use]
    pub fn shared_truth(&self) -> SharedTruth {
        self.truth.clone()
    }

    /// The event monitor saw the epoch's release: its window opens.
    ///
    /// # Errors
    /// When Redis does not confirm.
    pub async fn open_epoch(&mut self, epoch: u64, now: i64) -> Result<(), ProducerError> {
        let window = self.config.window;
        let mut step = Step::new(Arc::clone(&self.config));
        let active = step.key("epochs:active");
        step.pipe.sadd(&active, epoch).expire(&active, DAY);
        step.pipe.zadd(step.key("metrics:epochs:timeline"), format!("open:{epoch}"), now);
        let info = step.key(format!("metrics:epoch:{epoch}:info"));
        let fields = [
            ("status", "open".to_owned()),
            ("start", now.to_string()),
            ("duration", seconds(window)),
            ("data_market", self.config.market.clone()),
            ("start_block", (epoch + 1_000_000).to_string()),
        ];
        step.pipe.hset_multiple(&info, &fields).expire(&info, 2 * HOUR);
        let closes_at = now.saturating_add(i64::try_from(window.as_secs()).unwrap_or(i64::MAX));
        let state = [
            ("window_status", "open".to_owned()),
            ("window_opened_at", now.to_string()),
            ("window_closes_at", closes_at.to_string()),
            ("phase", "submission".to_owned()),
            ("level1_status", "pending".to_owned()),
            ("level2_status", "pending".to_owned()),
            ("onchain_status", "pending".to_owned()),
        ];
        step.state(epoch, now, &state);
        step.publish(format!("epoch:open:{epoch}"));
        self.commit(step, epoch, "open_epoch", |truth| truth.opened_at = Some(now)).await
    }

    /// The gateway received and the dequeuer processed `count` further submissions of the epoch.
    ///
    /// # Errors
    /// When Redis does not confirm.
    pub async fn submit(&mut self, epoch: u64, count: u64, now: i64) -> Result<(), ProducerError> {
        let first = self.truth.read(|truth| truth.epochs.get(&epoch).map_or(0, |epoch| epoch.submissions));
        let mut step = Step::new(Arc::clone(&self.config));
        for index in first..first + count {
            step.submission(epoch, index, now);
        }
        if count > 0 {
            step.expire_submissions(epoch);
        }
        self.commit(step, epoch, "submit", |truth| truth.submissions += count).await
    }

    /// The gateway heard of these remote validators' batches of the epoch.
    ///
    /// # Errors
    /// When Redis does not confirm.
    pub async fn validators(&mut self, epoch: u64, ids: &[&str], now: i64) -> Result<(), ProducerError> {
        let mut step = Step::new(Arc::clone(&self.config));
        let key = step.key(format!("epoch:{epoch}:validators"));
        for id in ids {
            step.pipe.sadd(&key, *id);
            step.pipe.zadd(step.key("metrics:batches:timeline"), format!("validator:{id}:{epoch}"), now);
            step.pipe.zadd(step.key(format!("metrics:validator:{id}:batches")), epoch, now);
        }
        step.pipe.expire(&key, 2 * HOUR);
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        self.commit(step, epoch, "validators", |truth| truth.validators.extend(ids)).await
    }

    /// The event monitor closes the epoch's window.
    ///
    /// # Errors
    /// When Redis does not confirm.
    pub async fn close_epoch(&mut self, epoch: u64, now: i64) -> Result<(), ProducerError> {
        let mut step = Step::new(Arc::clone(&self.config));
        step.pipe.zadd(step.key("metrics:epochs:timeline"), format!("close:{epoch}"), now);
        let info = step.key(format!("metrics:epoch:{epoch}:info"));
        step.pipe.hset_multiple(&info, &[("status", "closed".to_owned()), ("end", now.to_string())]);
        let state = [("window_status", "closed".to_owned()), ("phase", "level1_finalization".to_owned())];
        step.state(epoch, now, &state);
        step.publish(format!("epoch:closed:{epoch}"));
        self.commit(step, epoch, "close_epoch", |truth| truth.closed_at = Some(now)).await
    }

    /// The finalizer made its part and this validator's batch (level 1).
    ///
    /// # Errors
    /// When Redis does not confirm.
    pub async fn local_batch(&mut self, epoch: u64, now: i64) -> Result<(), ProducerError> {
        let own = self.config.own_validator.clone();
        let mut step = Step::new(Arc::clone(&self.config));
        let metadata =
            json!({"epoch_id": epoch.to_string(), "type": "local", "validator_id": own, "timestamp": now});
        step.set_for_a_day(format!("metrics:batch:local:{epoch}"), metadata.to_string());
        step.pipe.zadd(step.key("metrics:batches:timeline"), format!("local:{epoch}"), now);
        step.pipe.zadd(step.key(format!("metrics:validator:{own}:batches")), epoch, now);
        let state = [
            ("phase", "level2_aggregation".to_owned()),
            ("level1_status", "completed".to_owned()),
            ("level1_completed_at", now.to_string()),
            ("level2_status", "collecting".to_owned()),
        ];
        step.state(epoch, now, &state);
        step.publish(format!("part:created:{epoch}:0"));
        step.publish(format!("batch:local:{epoch}"));
        self.commit(step, epoch, "local_batch", |truth| truth.local_batch_at = Some(now)).await
    }

    /// The aggregator made the batch of all these validators (level 2). Name the own one to include it.
    ///
    /// # Errors
    /// When Redis does not confirm.
    pub async fn aggregated_batch(
        &mut self,
        epoch: u64,
        ids: &[&str],
        now: i64,
    ) -> Result<(), ProducerError> {
        let mut step = Step::new(Arc::clone(&self.config));
        let metadata = json!({
            "epoch_id": epoch.to_string(), "type": "aggregated", "validator_count": ids.len(), "timestamp": now,
        });
        step.set_for_a_day(format!("metrics:batch:aggregated:{epoch}"), metadata.to_string());
        step.set_for_a_day(format!("metrics:batch:{epoch}:validators"), json!(ids).to_string());
        step.pipe.zadd(step.key("metrics:batches:timeline"), format!("aggregated:{epoch}"), now);
        let state = [
            ("phase", "onchain_submission".to_owned()),
            ("level2_status", "completed".to_owned()),
            ("level2_completed_at", now.to_string()),
            ("onchain_status", "queued".to_owned()),
        ];
        step.state(epoch, now, &state);
        step.publish(format!("batch:aggregated:{epoch}"));
        for id in ids {
            step.publish(format!("batch:validator:{id}:{epoch}"));
        }
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let done = |truth: &mut EpochTruth| {
            truth.aggregated_batch_at = Some(now);
            truth.batch_validators = ids;
        };
        self.commit(step, epoch, "aggregated_batch", done).await
    }

    /// All steps of an epoch at once: it is opened, gets this many submissions, is closed, and gets both batches, of
    /// the own validator alone.
    ///
    /// # Errors
    /// When Redis does not confirm a step; those before it are written.
    pub async fn finish_epoch(&mut self, epoch: u64, submissions: u64) -> Result<(), ProducerError> {
        let (now, own) = (unix_now(), self.config.own_validator.clone());
        self.open_epoch(epoch, now).await?;
        self.submit(epoch, submissions, now).await?;
        self.close_epoch(epoch, now).await?;
        self.local_batch(epoch, now).await?;
        self.aggregated_batch(epoch, &[&own], now).await
    }

    /// The priority client notes what it was assigned and submitted for the epoch. Adds to `vpa:stats`, so
    /// that a repeated step counts twice; not part of the truth.
    ///
    /// # Errors
    /// When Redis does not confirm.
    pub async fn vpa(
        &mut self,
        epoch: u64,
        priority: u64,
        success: bool,
        now: i64,
    ) -> Result<(), ProducerError> {
        let mut step = Step::new(Arc::clone(&self.config));
        let stats = step.key("vpa:stats");
        let status = if priority == 0 { "no_priority" } else { "assigned" };
        let assigned = if priority == 0 { "no_priority_count" } else { "total_priority_assignments" };
        step.pipe.hincr(&stats, assigned, 1);
        step.pipe.zadd(step.key("vpa:priority:timeline"), format!("{epoch}:{priority}:{status}"), now);
        if priority > 0 {
            let (field, status) = match success {
                true => ("total_submissions_success", "success"),
                false => ("total_submissions_failed", "failed"),
            };
            step.pipe.hincr(&stats, field, 1);
            step.pipe.zadd(step.key("vpa:submission:timeline"), format!("{epoch}:{priority}:{status}"), now);
        }
        step.pipe.expire(&stats, WEEK);
        let state =
            [("priority", priority.to_string()), ("vpa_submission_attempted", (priority > 0).to_string())];
        step.state(epoch, now, &state);
        let pipe = step.pipe;
        self.link.run(&pipe, || format!("vpa {epoch}")).await
    }

    async fn commit(
        &mut self,
        step: Step,
        epoch: u64,
        name: &str,
        done: impl FnOnce(&mut EpochTruth),
    ) -> Result<(), ProducerError> {
        let Step { mut pipe, events, .. } = step;
        // The truth only after Redis has confirmed: it must never be ahead of Redis.
        self.link.run(pipe.ignore(), || format!("{name} {epoch}")).await?;
        self.truth.with(|truth| {
            truth.events_published += events;
            done(truth.epochs.entry(epoch).or_default());
        });
        Ok(())
    }
}
