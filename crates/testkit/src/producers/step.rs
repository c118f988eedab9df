//! One step of the producers: a pipeline of writes and their events. Nothing is written before it is sent.

use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, pipe};
use serde_json::json;

use super::{CHANNEL, ProducerConfig, SubmissionStore};

// Times to live, in seconds.
pub(super) const HOUR: i64 = 3600;
pub(super) const DAY: i64 = 24 * HOUR;
pub(super) const WEEK: i64 = 7 * DAY;

pub(super) struct Step {
    config: Arc<ProducerConfig>,
    pub(super) pipe: Pipeline,
    pub(super) events: u64,
}

impl Step {
    pub(super) fn new(config: Arc<ProducerConfig>) -> Self {
        Self { config, pipe: pipe(), events: 0 }
    }

    pub(super) fn key(&self, rest: impl AsRef<str>) -> String {
        self.config.key(rest)
    }

    pub(super) fn publish(&mut self, event: String) {
        self.pipe.publish(CHANNEL, &event);
        self.events += 1;
        if self.config.market_channel {
            self.pipe.publish(self.key(CHANNEL), &event);
            self.events += 1;
        }
    }

    pub(super) fn set_for_a_day(&mut self, rest: String, value: String) {
        let key = self.key(rest);
        self.pipe.cmd("SET").arg(key).arg(value).arg("EX").arg(DAY);
    }

    pub(super) fn state(&mut self, epoch: u64, now: i64, fields: &[(&str, String)]) {
        if self.config.epoch_state {
            let key = self.key(format!("epoch:{epoch}:state"));
            self.pipe.hset_multiple(&key, fields).hset(&key, "last_updated", now).expire(&key, WEEK);
        }
    }

    /// One submission: its id on arrival differs from the one after processing, as with the real producers.
    pub(super) fn submission(&mut self, epoch: u64, index: u64, now: i64) {
        let (slot, project) = (index % 10_000 + 1, format!("project{}:uniswap", index % 7));
        // Distinct within the epoch, and the same when the step is repeated.
        let nanos = i128::from(now) * 1_000_000_000 + i128::from(index);
        let received = format!("{epoch}-{project}-{nanos}");
        let processed = format!("{epoch}-{project}-{slot}-bafkrei{index:052}");

        let timeline = self.key("metrics:submissions:timeline");
        let forms = [
            format!("received:{epoch}:{slot}:{project}:{now}:peer{}", index % 3),
            format!("received:{received}:{now}"),
            received.clone(),
            format!("received:peer-{index}-{nanos}"),
        ];
        // Two forms each, not the same two for all.
        for form in forms.iter().cycle().skip(usize::from(index % 2 == 1)).step_by(2).take(2) {
            self.pipe.zadd(&timeline, form, now);
        }
        if self.config.queue {
            let item =
                json!({"submission_id": received, "epoch_id": epoch, "slot_id": slot, "project_id": project});
            self.pipe.lpush(self.key("submissionQueue"), item.to_string());
        }
        self.pipe.zadd(self.key("metrics:validations:timeline"), &processed, now);
        if matches!(self.config.submission_store, SubmissionStore::Ids | SubmissionStore::Both) {
            self.pipe.zadd(self.key(format!("epoch:{epoch}:submissions:ids")), &processed, now);
        }
        if matches!(self.config.submission_store, SubmissionStore::Processed | SubmissionStore::Both) {
            self.pipe.sadd(self.key(format!("epoch:{epoch}:processed")), &processed);
        }
        self.publish(format!("submission:received:{received}"));
        self.publish(format!("submission:validated:{processed}"));
    }

    pub(super) fn expire_submissions(&mut self, epoch: u64) {
        // EXPIRE of a key that isn't there does nothing.
        self.pipe.expire(self.key(format!("epoch:{epoch}:submissions:ids")), 2 * HOUR);
        self.pipe.expire(self.key(format!("epoch:{epoch}:processed")), HOUR);
    }
}

/// Seconds as a decimal string: `20`, `0.25`.
pub(super) fn seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}
