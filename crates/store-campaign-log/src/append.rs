//! Appends events: an offered state becomes an event once, however many gateways offer it.

use std::sync::LazyLock;

use store_redis::{ErrorKind, Lua, Replies, Session, StoreError};

use crate::{
    event::{LARGEST_PAYLOAD, is_name},
    keys::{
        CampaignKeys, EVENT_AGE, FEED, IDS, LATEST, LOG, LOG_TTL, MOST_BYTES, MOST_EVENTS, MOST_LATEST,
        STATE, STATE_TTL, VERSIONS,
    },
    operations::APPEND_EVENTS,
};

static APPEND: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("append.lua")));

/// A rank may be this much older than the last one before it counts as one of a clock that was put back, in its own unit.
const TOLERANCE: u64 = 10_000_000;

/// The state of a run, a job or an alert, as a gateway has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The campaign's id.
    pub campaign: &'a str,
    /// The name under which clients receive it.
    pub kind: &'a str,
    /// The id of the run or the job.
    pub subject: &'a str,
    /// When the state was read, by the database's clock, in Unix microseconds. A state that was read before the last event of the
    /// same subject is refused.
    pub rank: u64,
    /// The name of the state, such as its digest: gateways that have read the same state give the same name.
    pub version: &'a str,
    /// The content, as JSON without id and time.
    pub payload: &'a str,
    /// The last id of all that this gateway knows; 0 for none. What Redis has lost since then is said in each answer.
    pub seen: u64,
    /// The id under which this gateway has received this very version; 0 if it has not. After Redis has lost its data, the
    /// version keeps it.
    pub known: u64,
    /// What is kept of it.
    pub form: Form,
}

/// What is kept of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The latest event of its subject is kept for those that join.
    Lasting,
    /// It is forgotten with the log.
    Passing,
    /// As a lasting one, and it is an event also if the version is known: an operator asked for it.
    Repeated,
    /// The version is noted if there was an event of the subject before; no event is made.
    Silent,
}

impl Form {
    fn as_str(self) -> &'static str {
        match self {
            Self::Lasting => "lasting",
            Self::Passing => "passing",
            Self::Repeated => "repeated",
            Self::Silent => "silent",
        }
    }
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is a new event with this id.
    New(u64),
    /// It was an event already, with this id.
    Known(u64),
    /// A newer state of the same subject is an event already, with this id.
    Overtaken(u64),
    /// Its version was noted, without an event.
    Noted,
}

impl CampaignKeys {
    /// Offers these states, in their order; one round trip, two where the server had forgotten the script. One answer an offer: an
    /// error of one campaign's keys leaves the others alone.
    ///
    /// # Errors
    /// [`StoreError`] when it is unknown whether anything was appended: the same offers may be made again.
    pub async fn append(
        &self,
        session: &mut Session,
        offers: &[Offer<'_>],
    ) -> Result<Vec<Result<Appended, StoreError>>, StoreError> {
        let mut refused: Vec<Option<StoreError>> = offers.iter().map(refusal).collect();
        let sent = || offers.iter().zip(&refused).filter(|(_, refused)| refused.is_none());
        let answers = session
            .run_scripts(APPEND_EVENTS, "campaigns", |batch| {
                for (offer, _) in sent() {
                    self.add(batch, offer);
                }
            })
            .await?;
        let mut replies = Replies::new(APPEND_EVENTS, answers);
        let mut outcomes = Vec::with_capacity(offers.len());
        for (offer, refused) in offers.iter().zip(&mut refused) {
            outcomes.push(match refused.take() {
                Some(error) => Err(error),
                None => self.read(&mut replies, offer),
            });
        }
        Ok(outcomes)
    }

    fn add(&self, batch: &mut store_redis::Batch, offer: &Offer<'_>) {
        let of_all = [FEED, IDS].map(|family| self.one(&family));
        let own = [LOG, STATE, VERSIONS, LATEST].map(|family| self.of(&family, offer.campaign));
        let keys: Vec<&str> = of_all.iter().chain(&own).map(String::as_str).collect();
        let command = APPEND.run(batch, &keys);
        command.arg(self.channel()).arg(offer.campaign).arg(offer.kind).arg(offer.subject);
        command.arg(offer.rank).arg(offer.version).arg(offer.payload);
        command.arg(offer.seen).arg(offer.known).arg(offer.form.as_str());
        command.arg(MOST_EVENTS).arg(MOST_BYTES).arg(EVENT_AGE).arg(LOG_TTL).arg(STATE_TTL);
        command.arg(MOST_LATEST).arg(TOLERANCE);
    }

    fn read(&self, replies: &mut Replies, offer: &Offer<'_>) -> Result<Appended, StoreError> {
        let key = self.of(&LOG, offer.campaign);
        let (what, id): (String, u64) = replies.required(&key)?;
        match what.as_str() {
            "new" => Ok(Appended::New(id)),
            "known" => Ok(Appended::Known(id)),
            "overtaken" => Ok(Appended::Overtaken(id)),
            "noted" => Ok(Appended::Noted),
            other => {
                let detail = format!("the script answered `{other}`");
                Err(StoreError::new(APPEND_EVENTS, key, ErrorKind::Malformed, detail))
            }
        }
    }
}

/// Why an offer can't be sent, if it can't.
fn refusal(offer: &Offer<'_>) -> Option<StoreError> {
    let refused =
        |detail: String| Some(StoreError::new(APPEND_EVENTS, offer.campaign, ErrorKind::Malformed, detail));
    let names = [offer.campaign, offer.kind, offer.subject, offer.version];
    match names.into_iter().find(|name| !is_name(name)) {
        Some(name) => refused(format!("`{name}` can't be a name in the log")),
        None if offer.payload.len() > LARGEST_PAYLOAD => {
            refused(format!("a payload of {} bytes is longer than {LARGEST_PAYLOAD}", offer.payload.len()))
        }
        None => None,
    }
}
