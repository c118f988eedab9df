//! The rights that the collector needs: its own keys, those that it hands to other programs, the sets of submissions.
//!
//! A command that is missing here is not granted by the access list that the doctor prints. So whatever this crate sends to
//! Redis, by itself or in a script, must have a line here.

use store_redis::{Access, NOBODY, Need};

use crate::{
    ChainStore,
    keys::{ATTESTOR_QUEUE, FINALIZER_QUEUE, SUBMITTED},
};

/// Arguments of a `SET` that the server refuses.
const SET: &[&str] = &[NOBODY, "EX", NOBODY];
/// The same of `HSET`.
const HSET: &[&str] = &["field", "value", "field without a value"];

impl ChainStore {
    /// The rights that the collector needs; `spelled` are the markets as the configuration spells them.
    #[must_use]
    pub fn needs(&self, spelled: &[String]) -> Vec<Need> {
        let keys = &self.keys;
        let mut all = vec![self.own_need()];
        let mut of = |name: &str, ask: &dyn Fn(&mut Need, &str)| {
            let mut need = Need::new(keys.pattern(name), Access::Write);
            ask(&mut need, &keys.probe(name));
            all.push(need);
        };
        of("BlockHashByNumberKey.*", &|need, key| {
            need.sent("GET", key, &[]).sent("TYPE", key, &[]).sent("SET", key, SET).sent("DEL", key, &[]);
        });
        for market in &self.markets {
            let market = market.lower();
            let mut of = |name: &str, ask: &dyn Fn(&mut Need, &str)| of(&name.replace("{m}", &market), ask);
            of("{m}.CurrentEpochID", &|need, key| {
                need.sent("SET", key, SET).asked("DEL", key);
            });
            of("EpochMarkerSetKey.{m}", &|need, key| {
                need.sent("SMEMBERS", key, &[]).sent("SREM", key, &[NOBODY]).asked("SADD", key);
            });
            of("EpochMarkerDetailsKey.{m}.*", &|need, key| {
                need.sent("GET", key, &[]).sent("SET", key, SET).sent("DEL", key, &[]).sent(
                    "EXPIRE",
                    key,
                    &[NOBODY],
                );
            });
            of("BatchCountKey.{m}.*", &|need, key| {
                need.sent("GET", key, &[]).sent("EXISTS", key, &[]).sent("SET", key, SET);
            });
            of("BatchSubmissionsKey.{m}.*", &|need, key| {
                need.sent("SET", key, SET);
            });
            of("SlotSubmissionsKey.{m}.*", &|need, key| {
                need.sent("INCRBY", key, &[NOBODY]);
            });
        }
        let queues = [Some(FINALIZER_QUEUE), Some(ATTESTOR_QUEUE).filter(|_| self.attest)];
        for queue in queues.into_iter().flatten() {
            of(queue, &|need, key| {
                need.sent("TYPE", key, &[]).asked("LPUSH", key);
            });
        }
        for table in ["SubmissionLimitTable", "DaySizeTableKey", "DailySnapshotQuotaTableKey"] {
            of(table, &|need, key| {
                need.sent("HSET", key, HSET);
            });
        }
        let numbers = spelled.iter().map(|market| format!("ProtocolState.{market}.EpochsInADay"));
        for number in numbers.chain(["TotalNodesCount".to_owned()]) {
            of(&number, &|need, key| {
                need.sent("GET", key, &[]).sent("SET", key, SET).script(key);
            });
        }
        all.extend(self.markets.iter().map(|market| self.submissions_need(&market.lower())));
        if !keys.is_shadow() {
            let mut scan = Need::new("", Access::Read);
            scan.keyless("SCAN", &["0", "COUNT", "1"]);
            all.push(scan);
        }
        all
    }

    /// What is known of the chain.
    fn own_need(&self) -> Need {
        let name = "tracker:chain:*";
        let (mut need, key) = (Need::new(self.keys.pattern(name), Access::Write), self.keys.probe(name));
        for (command, arguments) in [
            ("GET", &[][..]),
            ("HGET", &[NOBODY]),
            ("HGETALL", &[]),
            ("HMGET", &[NOBODY]),
            ("HKEYS", &[]),
            ("TYPE", &[]),
            ("SET", SET),
            ("HSET", HSET),
            ("HDEL", &[NOBODY]),
        ] {
            need.sent(command, &key, arguments);
        }
        need.script(&key);
        need
    }

    /// What the collectors write. A shadow removes none of it.
    fn submissions_need(&self, market: &str) -> Need {
        let access = if self.keys.is_shadow() { Access::Read } else { Access::Write };
        let (mut need, key) =
            (Need::new(format!("{SUBMITTED}{market}.*"), access), format!("{SUBMITTED}{market}.0.{NOBODY}"));
        need.sent("SMEMBERS", &key, &[]);
        if !self.keys.is_shadow() {
            need.sent("UNLINK", &key, &[]);
        }
        need
    }
}
