//! Reads the log: what a gateway or a client missed, and what a client that joins gets.

use store_redis::{Batch, Replies, Session, StoreError};

use crate::{
    event::Event,
    keys::{CampaignKeys, FEED, IDS, LATEST, LOG, STATE, STATE_TTL},
    operations::{READ_EVENTS, READ_LATEST},
};

/// An entry of a stream: its id, and its fields with their values.
type Entry = (String, Vec<(String, String)>);

/// A part of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// Whether there are more of them than the limit.
    pub has_more: bool,
    /// Whether events after the given id are gone: the log no longer has them, or Redis has lost them.
    pub is_truncated: bool,
    /// The last id of all events; 0 for none.
    pub last: u64,
}

impl CampaignKeys {
    /// The last id of all events; 0 for none.
    ///
    /// # Errors
    /// [`StoreError`] when it can't be read.
    pub async fn last_id(&self, session: &mut Session) -> Result<u64, StoreError> {
        let ids = self.one(&IDS);
        let mut batch = Batch::new();
        batch.cmd("HMGET", &ids).arg("last");
        let mut replies = Replies::new(READ_EVENTS, session.run(READ_EVENTS, &ids, batch).await?);
        let [last] = replies.required::<[Option<u64>; 1]>(&ids)?;
        Ok(last.unwrap_or_default())
    }

    /// The first events of all campaigns after this id, at most `most`.
    ///
    /// # Errors
    /// [`StoreError`] when the feed can't be read.
    pub async fn feed(&self, session: &mut Session, id: u64, most: usize) -> Result<Page, StoreError> {
        let (ids, feed) = (self.one(&IDS), self.one(&FEED));
        let mut batch = Batch::new();
        batch.transaction(|batch| {
            batch.cmd("HMGET", &ids).arg(&["last", "lost"]);
            // The entry before the wanted ones says that nothing is missing between.
            batch.cmd("XREVRANGE", &feed).arg(format!("{id}-0")).arg("-").arg("COUNT").arg(1);
            batch.cmd("XRANGE", &feed).arg(after(id)).arg("+").arg("COUNT").arg(most.saturating_add(1));
        });
        let mut replies = Replies::new(READ_EVENTS, session.run(READ_EVENTS, &feed, batch).await?);
        let [last, lost] = replies.required::<[Option<u64>; 2]>(&ids)?;
        let before: Vec<Entry> = replies.required(&feed)?;
        let mut entries: Vec<Entry> = replies.required(&feed)?;
        let (last, lost) = (last.unwrap_or_default(), lost.unwrap_or_default());
        let has_more = entries.len() > most;
        entries.truncate(most);
        let events = events(&entries);
        let is_complete = match events.first() {
            Some(first) => first.previous <= id || !before.is_empty(),
            None => id >= last,
        };
        Ok(Page { events, has_more, is_truncated: id < lost || !is_complete, last })
    }

    /// The first events of a campaign after this id and up to that one, at most `most`.
    ///
    /// # Errors
    /// [`StoreError`] when the log can't be read.
    pub async fn between(
        &self,
        session: &mut Session,
        campaign: &str,
        id: u64,
        up_to: u64,
        most: usize,
    ) -> Result<Page, StoreError> {
        let ask = |batch: &mut Batch, key: &str| {
            let count = most.saturating_add(1);
            batch.cmd("XRANGE", key).arg(after(id)).arg(format!("{up_to}-0")).arg("COUNT").arg(count);
        };
        let (mut entries, page) = self.read_log(session, campaign, id, ask).await?;
        let has_more = entries.len() > most;
        entries.truncate(most);
        Ok(Page { events: events(&entries), has_more, ..page })
    }

    /// The newest events of a campaign after this id, at most `most`, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the log can't be read.
    pub async fn newest(
        &self,
        session: &mut Session,
        campaign: &str,
        id: u64,
        most: usize,
    ) -> Result<Page, StoreError> {
        let ask = |batch: &mut Batch, key: &str| {
            batch.cmd("XREVRANGE", key).arg("+").arg(after(id)).arg("COUNT").arg(most.saturating_add(1));
        };
        let (mut entries, page) = self.read_log(session, campaign, id, ask).await?;
        let has_more = entries.len() > most;
        entries.truncate(most);
        entries.reverse();
        Ok(Page { events: events(&entries), has_more, ..page })
    }

    async fn read_log(
        &self,
        session: &mut Session,
        campaign: &str,
        id: u64,
        ask: impl FnOnce(&mut Batch, &str),
    ) -> Result<(Vec<Entry>, Page), StoreError> {
        let (ids, log, state) = (self.one(&IDS), self.of(&LOG, campaign), self.of(&STATE, campaign));
        let mut batch = Batch::new();
        batch.transaction(|batch| {
            batch.cmd("HMGET", &ids).arg(&["last", "lost"]);
            batch.cmd("HMGET", &state).arg(&["last", "gone"]);
            batch.cmd("XLEN", &log);
            ask(batch, &log);
        });
        let mut replies = Replies::new(READ_EVENTS, session.run(READ_EVENTS, &log, batch).await?);
        let [last, lost] = replies.required::<[Option<u64>; 2]>(&ids)?;
        let [own, gone] = replies.required::<[Option<u64>; 2]>(&state)?;
        let length: u64 = replies.required(&log)?;
        let entries: Vec<Entry> = replies.required(&log)?;
        let is_truncated = match (last, own) {
            // Redis has lost all of it.
            (None, _) => true,
            // The campaign had no event as long as its state is kept. Ids are microseconds.
            (Some(last), None) => last.saturating_sub(id) > STATE_TTL * 1_000_000,
            (Some(_), Some(own)) if length == 0 => id < own,
            (Some(_), Some(_)) => id < gone.unwrap_or_default(),
        };
        // Without an id nothing was missed: the client has seen nothing yet.
        let is_truncated = id > 0 && (is_truncated || id < lost.unwrap_or_default());
        let page = Page { is_truncated, last: last.unwrap_or_default(), ..Page::default() };
        Ok((entries, page))
    }

    /// The latest event of each run and alert of these campaigns, oldest first; one round trip.
    ///
    /// # Errors
    /// [`StoreError`] when they can't be read.
    pub async fn latest(&self, session: &mut Session, campaigns: &[&str]) -> Result<Vec<Event>, StoreError> {
        if campaigns.is_empty() {
            return Ok(Vec::new());
        }
        let mut batch = Batch::new();
        for campaign in campaigns {
            batch.cmd("HGETALL", self.of(&LATEST, campaign));
        }
        let answers = session.run(READ_LATEST, "campaigns", batch).await?;
        let mut replies = Replies::new(READ_LATEST, answers);
        let mut all = Vec::new();
        for campaign in campaigns {
            let key = self.of(&LATEST, campaign);
            let fields: Vec<(String, String)> = replies.required(&key)?;
            all.extend(fields.iter().filter_map(|(field, value)| Event::from_latest(campaign, field, value)));
        }
        all.sort_unstable_by_key(|event| event.id);
        Ok(all)
    }
}

/// The id of the first entry after an event.
fn after(id: u64) -> String {
    format!("{}-0", id.saturating_add(1))
}

/// The events of these entries. One that can't be read was written by another program, and is left out.
fn events(entries: &[Entry]) -> Vec<Event> {
    entries.iter().filter_map(|(id, fields)| Event::from_entry(id, fields)).collect()
}
