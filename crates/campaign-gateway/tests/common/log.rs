//! A log and campaigns in memory, which several gateways share as they would share a server.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use campaign_gateway::{
    CampaignId, Campaigns, Event, EventId, EventKind, EventLog, Page, SavedSession, Since, SourceError,
};
use tokio::sync::{oneshot, watch};

/// A log and the campaigns. Clones share it.
#[derive(Clone)]
pub struct Memory(Arc<Inner>, Arc<Mutex<Option<Held>>>);

struct Inner {
    state: Mutex<State>,
    appended: watch::Sender<EventId>,
    is_away: AtomicBool,
    questions: AtomicU64,
}

/// A question of this name that is let through so often, and then waits.
struct Held {
    name: &'static str,
    after: usize,
    fails: bool,
    reached: oneshot::Sender<()>,
    open: oneshot::Receiver<()>,
}

/// A question that will wait: until when it came, and what lets it go on.
pub struct Gate {
    reached: Option<oneshot::Receiver<()>>,
    open: oneshot::Sender<()>,
}

impl Gate {
    /// Waits until the question has come.
    pub async fn reached(&mut self) {
        self.reached.take().unwrap().await.unwrap();
    }

    /// Lets it go on.
    pub fn open(self) {
        self.open.send(()).unwrap();
    }
}

#[derive(Default)]
struct State {
    last: EventId,
    events: Vec<Event>,
    /// The newest event of each campaign that is gone.
    gone: HashMap<CampaignId, EventId>,
    gone_of_all: EventId,
    owners: BTreeMap<CampaignId, String>,
    sessions: HashMap<String, (SavedSession, Instant)>,
}

impl Default for Memory {
    fn default() -> Self {
        let inner = Inner {
            state: Mutex::default(),
            appended: watch::Sender::new(0),
            is_away: AtomicBool::new(false),
            questions: AtomicU64::new(0),
        };
        Self(Arc::new(inner), Arc::default())
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// A question reaches the log, or fails.
    fn ask(&self) -> Result<MutexGuard<'_, State>, SourceError> {
        self.0.questions.fetch_add(1, Ordering::Relaxed);
        match self.0.is_away.load(Ordering::Relaxed) {
            true => Err("the log is away".into()),
            false => Ok(self.lock()),
        }
    }

    /// The same log, as another replica sees it, whose questions can be held by themselves.
    pub fn of_a_replica(&self) -> Self {
        Self(self.0.clone(), Arc::default())
    }

    /// Lets the next question of this name wait, after so many others of it; `fails` is how it goes on.
    pub fn hold(&self, name: &'static str, after: usize, fails: bool) -> Gate {
        let ((reached, waits), (open, opened)) = (oneshot::channel(), oneshot::channel());
        *self.1.lock().unwrap() = Some(Held { name, after, fails, reached, open: opened });
        Gate { reached: Some(waits), open }
    }

    async fn pass(&self, name: &str) -> Result<(), SourceError> {
        let held = {
            let mut place = self.1.lock().unwrap();
            match place.as_mut().filter(|held| held.name == name) {
                Some(held) if held.after > 0 => {
                    held.after -= 1;
                    None
                }
                Some(_) => place.take(),
                None => None,
            }
        };
        let Some(held) = held else { return Ok(()) };
        let _ = held.reached.send(());
        let _ = held.open.await;
        if held.fails { Err("the log fails this once".into()) } else { Ok(()) }
    }

    pub fn own(&self, user: &str, campaign: CampaignId) {
        self.lock().owners.insert(campaign, user.to_owned());
    }

    pub fn append(&self, campaign: CampaignId, kind: EventKind, payload: &str) -> EventId {
        let id = {
            let mut state = self.lock();
            state.last += 1;
            let id = state.last;
            let event = Event { id, campaign, kind, at: SystemTime::now(), payload: payload.to_owned() };
            state.events.push(event);
            id
        };
        self.0.appended.send_replace(id);
        id
    }

    /// Appends a status with a number that counts up.
    pub fn status(&self, campaign: CampaignId, number: u64) -> EventId {
        let payload = format!(
            r#"{{"runId":"r","campaignId":"{campaign}","status":"running","metrics":{{"totalJobs":{number},"byQueue":{{}}}},"updatedAt":"2026-01-01T00:00:00.000Z"}}"#
        );
        self.append(campaign, EventKind::Status, &payload)
    }

    /// Forgets all events up to this one.
    pub fn truncate(&self, upto: EventId) {
        let mut state = self.lock();
        let (gone, kept): (Vec<Event>, Vec<Event>) =
            std::mem::take(&mut state.events).into_iter().partition(|event| event.id <= upto);
        state.events = kept;
        for event in gone {
            state.gone.insert(event.campaign, event.id);
            state.gone_of_all = state.gone_of_all.max(event.id);
        }
    }

    pub fn set_away(&self, is_away: bool) {
        self.0.is_away.store(is_away, Ordering::Relaxed);
        // A reader that waits fails now.
        self.0.appended.send_modify(|_| {});
    }

    pub fn last(&self) -> EventId {
        self.lock().last
    }

    pub fn sessions(&self) -> usize {
        let now = Instant::now();
        self.lock().sessions.values().filter(|(_, until)| *until > now).count()
    }

    /// How long the longest-lived session lives on.
    pub fn longest_session(&self) -> Duration {
        let now = Instant::now();
        let all = self.lock();
        let lives = all.sessions.values().map(|(_, until)| until.saturating_duration_since(now));
        lives.max().unwrap_or_default()
    }
}

impl Campaigns for Memory {
    async fn owner_of(&self, campaign: CampaignId) -> Result<Option<String>, SourceError> {
        self.pass("owner_of").await?;
        Ok(self.ask()?.owners.get(&campaign).cloned())
    }

    async fn latest_status(&self, campaign: CampaignId) -> Result<Option<Event>, SourceError> {
        let state = self.ask()?;
        let mut all = state.events.iter().rev();
        Ok(all.find(|event| event.campaign == campaign && event.kind == EventKind::Status).cloned())
    }
}

fn page(mut events: Vec<Event>, limit: usize, truncated: bool) -> Page {
    let has_more = events.len() > limit;
    events.truncate(limit);
    Page { events, has_more, truncated }
}

impl EventLog for Memory {
    async fn newest(&self) -> Result<EventId, SourceError> {
        Ok(self.ask()?.last)
    }

    async fn feed(&self, after: EventId, limit: usize, wait: Duration) -> Result<Page, SourceError> {
        self.pass("feed").await?;
        let mut appended = self.0.appended.subscribe();
        let is_away = || self.0.is_away.load(Ordering::Relaxed);
        let _ = tokio::time::timeout(wait, appended.wait_for(|last| *last > after || is_away())).await;
        let state = self.ask()?;
        let first = state.events.partition_point(|event| event.id <= after);
        Ok(page(state.events[first..].to_vec(), limit, state.gone_of_all > after))
    }

    async fn between(
        &self,
        campaign: CampaignId,
        after: EventId,
        upto: EventId,
        limit: usize,
    ) -> Result<Page, SourceError> {
        self.pass("between").await?;
        let state = self.ask()?;
        let fits = |event: &&Event| event.campaign == campaign && event.id > after && event.id <= upto;
        let events = state.events.iter().filter(fits).cloned().collect();
        Ok(page(events, limit, state.gone.get(&campaign).is_some_and(|gone| *gone > after)))
    }

    async fn missed(&self, campaign: CampaignId, since: Since, limit: usize) -> Result<Page, SourceError> {
        self.pass("missed").await?;
        let state = self.ask()?;
        let fits = |event: &&Event| {
            event.campaign == campaign
                && match since {
                    Since::Start => true,
                    Since::Event(id) => event.id > id,
                    Since::Time(at) => event.at > at,
                }
        };
        let all: Vec<Event> = state.events.iter().filter(fits).cloned().collect();
        let skipped = all.len().saturating_sub(limit);
        let is_gone = state.gone.get(&campaign).is_some_and(|gone| match since {
            Since::Event(id) => *gone > id,
            Since::Start | Since::Time(_) => true,
        });
        Ok(Page { events: all[skipped..].to_vec(), has_more: false, truncated: is_gone || skipped > 0 })
    }

    async fn save_session(
        &self,
        secret: &str,
        session: SavedSession,
        life: Duration,
    ) -> Result<(), SourceError> {
        self.ask()?.sessions.insert(secret.to_owned(), (session, Instant::now() + life));
        Ok(())
    }

    async fn session(&self, secret: &str) -> Result<Option<SavedSession>, SourceError> {
        let state = self.ask()?;
        let found = state.sessions.get(secret).filter(|(_, until)| *until > Instant::now());
        Ok(found.map(|(session, _)| session.clone()))
    }

    async fn keep_sessions(&self, secrets: &[String], life: Duration) -> Result<(), SourceError> {
        let mut state = self.ask()?;
        for secret in secrets {
            if let Some((_, until)) =
                state.sessions.get_mut(secret).filter(|(_, until)| *until > Instant::now())
            {
                *until = Instant::now() + life;
            }
        }
        Ok(())
    }
}
