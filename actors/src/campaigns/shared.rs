//! What the actors of campaigns share, also over their restarts: the database, the log's keys, counts, and what is known of runs.

use std::{
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use campaign_gateway::{Event, EventKind, SourceError};
use domain::campaigns::{CampaignId, RunStatus, Timestamp};
use store_campaign_log::{
    Appended, CampaignKeys, Form, Offer, operations::APPEND_EVENTS, operations::READ_LATEST,
};
use store_campaigns::{
    Database, DatabaseError, HistoryPlace, RunRow, SummaryPage, operations::INSPECT_DATABASE,
};
use store_redis::StoreError;
use supervision::{Address, Clock};
use tokio::sync::Notify;

use super::{
    counts::Counts,
    fitness::unfit,
    hands::Hands,
    heard::Heard,
    known::Known,
    log::of_event,
    owners::{Owners, Remembered},
    told::{self, Told},
};
use crate::{
    collector::Notice,
    env::{ReadinessCondition, Services, lock::lock},
};

/// The name under which readiness has the campaigns.
pub(super) const WHOSE: &str = "campaigns";
/// The most offers of one round trip.
const MOST_OFFERS: usize = 100;

/// The rhythms and limits of campaigns.
#[derive(Clone, Debug)]
pub struct CampaignsSettings {
    /// How often a campaign is counted that has no interval of its own.
    pub interval: Duration,
    /// How long finished job rows are kept.
    pub job_retention: Duration,
    /// How long summaries are kept for trends.
    pub history_retention: Duration,
    /// The success rate below which a run has an alert; 0 for none.
    pub alert_below: f64,
    /// Whether status workers run here.
    pub writes: bool,
}

/// Why a status could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendStatusError {
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Redis did not answer.
    #[error(transparent)]
    Log(#[from] StoreError),
}

/// What the actors of campaigns share. A clone is the same.
#[derive(Clone)]
pub struct Campaigns(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) services: Services,
    pub(super) database: Database,
    pub(super) keys: CampaignKeys,
    pub(super) settings: CampaignsSettings,
    pub(super) counts: Counts,
    pub(super) known: Mutex<Known>,
    /// Wakes the workers when job rows are queued.
    pub(super) wake: Notify,
    /// Makes the monitor look at once.
    pub(super) look: Notify,
    /// What it is to look at.
    pub(super) heard: Heard,
    /// Up to where changed jobs were told of.
    pub(super) jobs_place: Mutex<Option<i64>>,
    /// What workers have in their hands.
    pub(super) hands: Hands,
    /// Until when workers do each job alone, because several together failed.
    pub(super) apart_until: Mutex<Option<Instant>>,
    owners: Owners,
    alerts: Option<Address<Notice>>,
    pub(super) clock: Clock,
}

impl Campaigns {
    /// Sets up without connecting.
    #[must_use]
    pub fn new(
        services: Services,
        database: Database,
        keys: CampaignKeys,
        settings: CampaignsSettings,
        alerts: Option<Address<Notice>>,
        clock: &Clock,
    ) -> Self {
        Self(Arc::new(Shared {
            services,
            database,
            keys,
            settings,
            counts: Counts::default(),
            known: Mutex::default(),
            wake: Notify::new(),
            look: Notify::new(),
            heard: Heard::default(),
            jobs_place: Mutex::default(),
            hands: Hands::default(),
            apart_until: Mutex::default(),
            owners: Owners::default(),
            alerts,
            clock: clock.clone(),
        }))
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// The present time, since 1970.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.clock.unix()
    }

    /// The readiness conditions of campaigns.
    #[must_use]
    pub fn conditions(&self) -> Vec<ReadinessCondition> {
        let all = self.0.services.readiness.conditions();
        all.into_iter().filter(|condition| condition.name.starts_with(WHOSE)).collect()
    }

    /// The user that owns a campaign; `None` where there is no such campaign. An answer is used for half a minute, and for ten minutes
    /// while the database does not answer.
    ///
    /// # Errors
    /// When the database does not answer, and has not lately.
    pub async fn owner_of(&self, campaign: CampaignId) -> Result<Option<String>, DatabaseError> {
        let now = self.0.clock.now();
        let remembered = self.0.owners.get(campaign, now);
        if let Remembered::Fresh(owner) = remembered {
            return Ok(owner);
        }
        match self.0.database.owner_of(campaign).await {
            Ok(owner) => {
                let owner = owner.map(|user| user.0);
                self.0.owners.put(campaign, owner.clone(), now);
                Ok(owner)
            }
            Err(error) => match remembered {
                Remembered::Old(owner) if error.kind.is_outage() => Ok(owner),
                _ => Err(error),
            },
        }
    }

    /// Sends the latest status of each run of a campaign to its room, whether it is known there or not. Returns the events' ids.
    ///
    /// # Errors
    /// [`SendStatusError`].
    pub async fn broadcast(&self, campaign: CampaignId) -> Result<Vec<u64>, SendStatusError> {
        let runs = self.0.database.latest(&[campaign]).await?;
        let told: Vec<Told> = runs.iter().filter_map(told::status).collect();
        let repeated = told.into_iter().map(|told| Told { form: Form::Repeated, ..told }).collect();
        let outcomes = self.append(repeated).await?;
        let sent = outcomes.into_iter().filter_map(|outcome| match outcome {
            Ok(Appended::New(id)) => Some(id),
            _ => None,
        });
        Ok(sent.collect())
    }

    /// The summaries that a campaign's runs had between two times, both included, in pages.
    ///
    /// # Errors
    /// When the migration is missing, or the database refuses or does not answer.
    pub async fn history(
        &self,
        campaign: CampaignId,
        between: (Timestamp, Timestamp),
        after: Option<HistoryPlace>,
        limit: usize,
    ) -> Result<SummaryPage, DatabaseError> {
        self.0.database.summaries(campaign, between, after, limit).await
    }

    /// Asks the database whether it can be used as its role sees it, and records that for readiness.
    pub(super) async fn examine(&self, writes: bool) {
        let shared = &self.0;
        match Box::pin(shared.database.inspect()).await {
            Ok(inspection) => match unfit(&inspection, writes) {
                None => shared.services.readiness.written(WHOSE, "database"),
                Some(why) => {
                    shared.services.warn(INSPECT_DATABASE, shared.database.object(), &why);
                    shared.services.readiness.failed(WHOSE, "database", why);
                }
            },
            // That it is away is told by the actors that need it.
            Err(error) => shared.services.report(&error),
        }
    }

    /// Counts and logs an error that a request has met.
    pub fn note(&self, error: &SendStatusError) {
        match error {
            SendStatusError::Database(error) => self.note_database(error),
            SendStatusError::Log(error) => self.0.services.report(error),
        }
    }

    /// The same for one of the database.
    pub fn note_database(&self, error: &DatabaseError) {
        self.0.services.report(error);
    }

    /// Offers these states to the log; one answer each. What became an event is counted, and what the log has is remembered.
    pub(super) async fn append(
        &self,
        told: Vec<Told>,
    ) -> Result<Vec<Result<Appended, StoreError>>, StoreError> {
        let shared = &self.0;
        let mut session = shared.services.store.session(APPEND_EVENTS).await?;
        let mut all = Vec::with_capacity(told.len());
        for part in told.chunks(MOST_OFFERS) {
            let seen = lock(&shared.known).seen();
            let known: Vec<u64> = part.iter().map(|told| lock(&shared.known).id_of(told)).collect();
            let names: Vec<[String; 2]> =
                part.iter().map(|told| [told.campaign.to_string(), told.subject.clone()]).collect();
            let offers: Vec<Offer<'_>> = part
                .iter()
                .zip(&names)
                .zip(&known)
                .map(|((told, [campaign, subject]), known)| Offer {
                    campaign,
                    kind: told.kind,
                    subject,
                    rank: told.rank,
                    version: &told.version,
                    payload: &told.payload,
                    seen,
                    known: *known,
                    form: told.form,
                })
                .collect();
            let outcomes = shared.keys.append(&mut session, &offers).await?;
            for (told, outcome) in part.iter().zip(&outcomes) {
                self.appended(told, outcome);
            }
            all.extend(outcomes);
        }
        Ok(all)
    }

    fn appended(&self, told: &Told, outcome: &Result<Appended, StoreError>) {
        let shared = &self.0;
        match outcome {
            Ok(Appended::New(id)) => {
                shared.counts.event(told.kind);
                lock(&shared.known).put(told, *id);
                self.log_event(told, *id);
            }
            Ok(Appended::Known(id)) => lock(&shared.known).put(told, *id),
            Ok(Appended::Noted) => lock(&shared.known).put(told, 0),
            // A newer state of the run is an event already: it is read again.
            Ok(Appended::Overtaken(_)) => {}
            Err(error) => shared.services.report(error),
        }
    }

    fn log_event(&self, told: &Told, event: u64) {
        let (campaign, run) = (told.campaign, &told.subject);
        match told.kind {
            "campaign:status" => {
                tracing::info!(%campaign, run, event, "campaign monitor: broadcasting a status");
            }
            "campaign:alert" => {
                tracing::warn!(%campaign, run, event, "campaign monitor: the success rate is below its threshold");
                self.notify(told);
            }
            kind => tracing::debug!(%campaign, subject = run, event, kind, "campaign monitor: an event"),
        }
    }

    /// Passes an alert on to operators. Nothing waits for it.
    fn notify(&self, told: &Told) {
        if let Some(alerts) = &self.0.alerts {
            let notice = told::notice(told);
            // A full mailbox drops its oldest notice; the log has this one.
            drop(alerts.try_send(notice));
        }
    }

    /// The latest status of a campaign: that of the log, else that of the database, which the log has then.
    async fn find_status(&self, campaign: CampaignId) -> Result<Option<Event>, SendStatusError> {
        if let Some(event) = self.latest_event(campaign).await? {
            return Ok(Some(event));
        }
        let runs = self.0.database.latest(&[campaign]).await?;
        let told: Vec<Told> = runs.iter().filter_map(told::status).collect();
        if told.is_empty() {
            return Ok(None);
        }
        self.append(told).await?;
        Ok(self.latest_event(campaign).await?)
    }

    async fn latest_event(&self, campaign: CampaignId) -> Result<Option<Event>, StoreError> {
        let mut session = self.0.services.store.session(READ_LATEST).await?;
        let events = self.0.keys.latest(&mut session, &[&campaign.to_string()]).await?;
        let mut all = events.into_iter().filter_map(of_event).filter(|event| event.kind == EventKind::Status);
        Ok(all.next_back())
    }
}

impl campaign_gateway::Campaigns for Campaigns {
    async fn owner_of(&self, campaign: campaign_gateway::CampaignId) -> Result<Option<String>, SourceError> {
        Ok(Self::owner_of(self, campaign.to_string().parse()?).await?)
    }

    async fn latest_status(
        &self,
        campaign: campaign_gateway::CampaignId,
    ) -> Result<Option<Event>, SourceError> {
        let found = self.find_status(campaign.to_string().parse()?).await?;
        let is_stale = self.0.counts.is_stale.load(Relaxed);
        Ok(found.map(|event| if is_stale { told::stale(event) } else { event }))
    }
}

/// The runs that are watched: those that run, and those that have left and lack their last summary.
pub(super) fn is_watched(run: &RunRow) -> bool {
    run.status == RunStatus::Running || !run.summary.as_ref().is_some_and(|summary| summary.is_final)
}
