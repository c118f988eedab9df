//! Where the producers' keys of configured markets are that have none where the tracker reads: in another database of the server, or
//! under another spelling. The doctor and `check --connect` report it.
//!
//! It only reads, asks for keys by their names, and scans nothing. Other databases are read by a connection of their own.

use store_redis::{Inspector, Store, StoreError};
use store_tracker::{
    MarketKeys,
    inspect::{Produced, Producers, produced, produced_at},
    operations::EXAMINE_MARKET,
};

/// The most databases that are examined beside the configured one.
const MOST_DATABASES: usize = 64;
/// The databases that are examined if the user may not ask which ones have keys: all that a server has by default.
const DEFAULT_DATABASES: i64 = 16;
/// The most markets without keys that are looked for elsewhere.
const MOST_MARKETS: usize = 1_000;

/// Where the producers of a market write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where the tracker reads, or the server refused to say.
    Here,
    /// In the configured database, under a spelling that the tracker does not read.
    Spelling(Produced),
    /// In another database, the one with the most keys first.
    Database(i64, Produced),
    /// In none of the examined databases.
    Nowhere,
}

/// What was examined for the places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    /// The place of each market, in the order of the request.
    pub(crate) places: Vec<Place>,
    /// The configured database; `None` for a cluster.
    configured: Option<i64>,
    /// The other databases that were examined.
    examined: Vec<i64>,
    /// What the server refused, with its message.
    refused: Option<String>,
    /// Whether the user may not ask for spellings that the tracker does not read.
    pub(crate) hides_spellings: bool,
}

/// A place as a problem with its remedy.
pub(crate) struct Advice {
    pub(crate) problem: String,
    pub(crate) remedy: String,
}

/// Finds the producers' keys of these markets.
///
/// # Errors
/// [`StoreError`] if the server does not answer.
pub(crate) async fn search(store: &Store, markets: &[MarketKeys]) -> Result<Search, StoreError> {
    let mut session = store.session(EXAMINE_MARKET).await?;
    let here = produced(&mut session, markets).await?;
    // Before another connection is made: a pool of one connection is allowed.
    drop(session);
    let hides_spellings = here.iter().any(|producers| producers.hides_spellings);
    let mut search = Search {
        hides_spellings,
        places: here.into_iter().map(place_here).collect(),
        configured: store.database(),
        ..Search::default()
    };
    let is_absent = |(at, place): (usize, &Place)| (*place == Place::Nowhere).then_some(at);
    let mut absent: Vec<usize> = search.places.iter().enumerate().filter_map(is_absent).collect();
    absent.truncate(MOST_MARKETS);
    // A cluster has one database.
    if let Some(configured) = search.configured.filter(|_| !absent.is_empty()) {
        for mut inspector in store.inspectors().await? {
            search.look_elsewhere(&mut inspector, configured, markets, &absent).await?;
        }
    }
    Ok(search)
}

fn place_here(producers: Producers) -> Place {
    let is_read = producers.is_unknown || producers.found.iter().any(|produced| produced.is_read);
    match producers.found.into_iter().max_by_key(|produced| produced.keys) {
        _ if is_read => Place::Here,
        Some(produced) => Place::Spelling(produced),
        None => Place::Nowhere,
    }
}

impl Search {
    async fn look_elsewhere(
        &mut self,
        inspector: &mut Inspector,
        configured: i64,
        markets: &[MarketKeys],
        absent: &[usize],
    ) -> Result<(), StoreError> {
        let databases = match inspector.databases().await? {
            Ok(databases) => databases,
            Err(why) => {
                self.refused = Some(format!("INFO ({why})"));
                (0..DEFAULT_DATABASES).collect()
            }
        };
        let keys: Vec<MarketKeys> = absent.iter().map(|&at| markets[at].clone()).collect();
        let others = databases.into_iter().filter(|database| *database != configured);
        for database in others.take(MOST_DATABASES) {
            if let Err(why) = inspector.select(database).await? {
                // Refused by the access list, or the server has fewer databases than by default.
                self.refused.get_or_insert(format!("SELECT ({why})"));
                break;
            }
            self.examined.push(database);
            let there = produced_at(inspector, &keys).await?;
            for (&at, producers) in absent.iter().zip(there) {
                let most =
                    producers.found.into_iter().max_by_key(|produced| (produced.keys, produced.is_read));
                let Some(most) = most else { continue };
                // Another database may hold a few keys of an old test.
                if !matches!(&self.places[at], Place::Database(_, known) if known.keys >= most.keys) {
                    self.places[at] = Place::Database(database, most);
                }
            }
        }
        Ok(())
    }

    /// What to report of a place; `None` where nothing is wrong.
    pub(crate) fn advice(&self, place: &Place) -> Option<Advice> {
        let here = match self.configured {
            Some(database) => format!("database {database}"),
            None => "the cluster".to_owned(),
        };
        let none_here =
            format!("{here} has no key of this market's producers (timelines, queue, active epochs)");
        Some(match place {
            Place::Here => return None,
            Place::Spelling(Produced { space, keys, .. }) => Advice {
                problem: format!(
                    "{none_here} in a spelling that the tracker reads; {space} has {}",
                    counted(*keys)
                ),
                remedy: format!(
                    "spell tracker.protocol (PROTOCOL_STATE_CONTRACT) and tracker.markets (DATA_MARKET_ADDRESSES) as in {space}"
                ),
            },
            Place::Database(database, Produced { space, keys, .. }) => Advice {
                problem: format!("{none_here}; database {database} has {}, under {space}", counted(*keys)),
                remedy: format!(
                    "set redis.db (REDIS_DB), or the number at the end of redis.url, to {database}"
                ),
            },
            Place::Nowhere => Advice {
                problem: format!("{none_here}{}", self.others()),
                remedy: "check tracker.protocol and tracker.markets; nothing, if no producer serves the market yet"
                    .to_owned(),
            },
        })
    }

    /// Which other databases have none either, as the end of a sentence.
    fn others(&self) -> String {
        let examined: Vec<String> = self.examined.iter().map(i64::to_string).collect();
        let none = match (examined.is_empty(), self.configured) {
            (false, _) => format!(", nor have the databases {}", examined.join(", ")),
            (true, Some(_)) if self.refused.is_none() => ", and no other database has keys".to_owned(),
            (true, _) => String::new(),
        };
        let refused = self.refused.as_ref().map(|refused| format!("; Redis refused {refused}"));
        none + &refused.unwrap_or_default()
    }
}

fn counted(keys: u64) -> String {
    format!("{keys} key{}", if keys == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under(space: &str, keys: u64, is_read: bool) -> Produced {
        Produced { space: space.to_owned(), keys, is_read }
    }

    #[test]
    fn a_market_is_here_if_any_of_its_keys_is_read_or_if_the_server_refuses_to_say() {
        let place = |found: &[Produced], is_unknown| {
            place_here(Producers { found: found.to_vec(), is_unknown, hides_spellings: false })
        };
        let (read, other) = (under("P:M", 1, true), under("p:m", 9, false));
        assert_eq!(place(&[read, other.clone()], false), Place::Here);
        assert_eq!(place(std::slice::from_ref(&other), false), Place::Spelling(other.clone()));
        assert_eq!((place(&[], false), place(&[], true)), (Place::Nowhere, Place::Here));
    }

    #[test]
    fn the_advice_names_the_database_that_has_the_keys_and_those_that_have_none() {
        let search = Search { configured: Some(3), examined: vec![0, 5], ..Search::default() };
        let said = |search: &Search, place| {
            search.advice(&place).map(|Advice { problem, remedy }| format!("{problem}; {remedy}"))
        };
        let there = said(&search, Place::Database(0, under("P:M", 1, true))).expect("advice");
        assert!(there.starts_with("database 3 has no key of this market's producers (timelines, queue, active epochs); database 0 has 1 key, under P:M; set redis.db (REDIS_DB)"), "{there}");
        assert!(there.ends_with(" to 0"), "{there}");
        let nowhere = said(&search, Place::Nowhere).expect("advice");
        assert!(nowhere.contains("nor have the databases 0, 5; check"), "{nowhere}");
        let refused = Search { refused: Some("INFO (NOPERM)".to_owned()), ..search };
        let nowhere = said(&refused, Place::Nowhere).expect("advice");
        assert!(
            nowhere.contains("nor have the databases 0, 5; Redis refused INFO (NOPERM); check"),
            "{nowhere}"
        );
        assert!(
            said(&Search::default(), Place::Nowhere)
                .is_some_and(|said| said.starts_with("the cluster has no"))
        );
        assert!(said(&refused, Place::Here).is_none());
    }
}
