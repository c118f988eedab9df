//! A translator proxy: its miners come, go, connect again and take over the ids of others, and find shares.

use std::collections::VecDeque;

use crate::Dice;

/// The length of the window that a proxy measures over, in seconds.
pub const WINDOW: u64 = 60;
/// The most miners of a proxy.
pub const MOST_MINERS: usize = 10_000;
/// The expected number of hashes for a difficulty of 1.
pub const HASHES_PER_WORK: f64 = 4_294_967_296.0;
/// A miner finds a share so often, on average, in seconds. It finds at most one a second.
const SHARE_EVERY: u64 = 3;
/// The rate of a miner, in H/s, half of it more or less.
const RATE: f64 = 1e14;
/// What a miner declares, as a multiple of what it has. They differ, so that a receiver that confuses both is found.
const DECLARED: f64 = 1.25;
/// A miner that has gone comes back after a tenth of the time that it stays.
const AWAY: u64 = 10;
/// The most seconds that a step plays. A longer one begins so long before its end.
const LONGEST_STEP: u64 = 600;

/// What a proxy is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyPlan {
    /// Its name, with which those of its miners begin.
    pub name: String,
    /// How many miners it has, at most [`MOST_MINERS`].
    pub miners: usize,
    /// The seed of all that happens.
    pub seed: u64,
    /// How long a connection of a miner lasts on average, in seconds; 0 for ever.
    pub stays: u64,
}

/// A proxy at one time.
#[derive(Clone, Debug)]
pub struct ProxyModel {
    plan: ProxyPlan,
    dice: Dice,
    /// In Unix seconds.
    now: u64,
    /// Nothing changes any more but the time.
    is_still: bool,
    /// The rates of all miners, in H/s, by their numbers.
    rates: Vec<f64>,
    connected: Vec<Miner>,
    /// The numbers of the miners that are away.
    away: Vec<usize>,
    next_id: u32,
    /// Ids that nobody has now, the oldest first. At most as many as there are miners.
    freed: VecDeque<u32>,
    /// How many connections began and ended since the start.
    changes: u64,
    /// The sum of the difficulties of all shares since the start, without those of the first window.
    done: f64,
}

/// A miner that is connected.
#[derive(Clone, Debug)]
struct Miner {
    number: usize,
    id: u32,
    shares: u64,
    connected_at: u64,
    /// The last seconds, the latest in the lowest bit: whether it found a share.
    window: u64,
}

/// The bits of a window.
const WINDOW_BITS: u64 = (1 << WINDOW) - 1;

/// A proxy as it tells of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyPicture {
    /// In Unix seconds.
    pub timestamp: u64,
    /// What its wallet has.
    pub balance: u64,
    /// The address of its pool.
    pub pool: String,
    /// All miners that are connected.
    pub miners: Vec<MinerPicture>,
}

/// A miner in a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct MinerPicture {
    /// Its number in the proxy.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// What it declares, in H/s.
    pub declared_hs: f64,
    /// Its shares since it connected.
    pub shares: u64,
    /// The sum of their difficulties, as an application that is polled tells it.
    pub work: f64,
    /// In Unix seconds.
    pub connected_at: u64,
    /// Its shares in the window that ends with the picture.
    pub window_shares: u64,
    /// The sum of their difficulties.
    pub window_work: f64,
}

impl MinerPicture {
    /// What was measured of it, in H/s.
    #[must_use]
    pub fn measured_hs(&self) -> f64 {
        self.window_work * HASHES_PER_WORK / WINDOW as f64
    }
}

impl ProxyModel {
    /// A proxy that has been at work for a while at `now`, in Unix seconds: the windows of its miners are full.
    #[must_use]
    pub fn new(plan: ProxyPlan, now: u64) -> Self {
        let plan = ProxyPlan { miners: plan.miners.min(MOST_MINERS), ..plan };
        let mut dice = Dice::new(plan.seed);
        let rates = (0..plan.miners).map(|_| RATE * (50 + dice.roll(101)) as f64 / 100.0).collect();
        let mut model = Self {
            plan,
            dice,
            now: now.saturating_sub(WINDOW),
            is_still: false,
            rates,
            connected: Vec::new(),
            away: Vec::new(),
            next_id: 1,
            freed: VecDeque::new(),
            changes: 0,
            done: 0.0,
        };
        model.restart();
        for miner in &mut model.connected {
            miner.connected_at = miner.connected_at.saturating_sub(model.dice.roll(3_600));
        }
        // Nobody comes or goes meanwhile: the first picture has all miners.
        let stays = std::mem::replace(&mut model.plan.stays, 0);
        model.advance(now);
        (model.plan.stays, model.done) = (stays, 0.0);
        model
    }

    /// The proxy is started again: all miners connect, in another order, with ids from 1, and nothing is in their windows.
    pub fn restart(&mut self) {
        self.connected.clear();
        self.away.clear();
        self.freed.clear();
        self.next_id = 1;
        let many = self.rates.len();
        let first = self.dice.roll(many.max(1) as u64) as usize;
        (0..many).for_each(|at| self.connect((first + at) % many));
    }

    /// Plays until `now`, second by second. A clock that goes back changes nothing.
    pub fn advance(&mut self, now: u64) {
        if self.is_still {
            self.now = self.now.max(now);
        }
        self.now = self.now.max(now.saturating_sub(LONGEST_STEP));
        while self.now < now {
            self.now += 1;
            self.second();
        }
    }

    /// From now on only the time changes.
    pub fn stand_still(&mut self) {
        self.is_still = true;
    }

    /// What it tells now.
    #[must_use]
    pub fn picture(&self) -> ProxyPicture {
        ProxyPicture {
            timestamp: self.now,
            balance: self.connected.iter().map(|miner| miner.shares).sum(),
            pool: "203.0.113.1:34254".to_owned(),
            miners: self.connected.iter().map(|miner| self.miner(miner)).collect(),
        }
    }

    /// The sum of the difficulties of all shares that were found since the start.
    #[must_use]
    pub fn done(&self) -> f64 {
        self.done
    }

    /// How many connections of miners began and ended since the start.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The rate of all miners that are connected, in H/s: what a receiver would measure in the long run.
    #[must_use]
    pub fn rate_hs(&self) -> f64 {
        self.connected.iter().map(|miner| self.rates[miner.number]).sum()
    }

    fn miner(&self, miner: &Miner) -> MinerPicture {
        let (number, rate) = (miner.number, self.rates[miner.number]);
        MinerPicture {
            id: miner.id,
            name: format!("{}-rig-{number}", self.plan.name),
            // Of the network for documentation, so that no address of a real miner is anywhere.
            address: format!("198.51.100.{}:{}", number % 254 + 1, 40_000 + number),
            declared_hs: rate * DECLARED,
            shares: miner.shares,
            work: miner.shares as f64 * difficulty(rate),
            connected_at: miner.connected_at,
            window_shares: u64::from(miner.window.count_ones()),
            window_work: f64::from(miner.window.count_ones()) * difficulty(rate),
        }
    }

    fn connect(&mut self, number: usize) {
        // Every second one that comes takes over an id, if there is one.
        let reused = if self.dice.roll(2) == 0 { self.freed.pop_front() } else { None };
        let id = reused.unwrap_or_else(|| {
            let id = self.next_id;
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            id
        });
        self.connected.push(Miner { number, id, shares: 0, connected_at: self.now, window: 0 });
    }

    fn second(&mut self) {
        let stays = self.plan.stays;
        let mut gone = Vec::new();
        for (at, miner) in self.connected.iter_mut().enumerate() {
            let finds = self.dice.roll(SHARE_EVERY) == 0;
            miner.window = (miner.window << 1 | u64::from(finds)) & WINDOW_BITS;
            if finds {
                miner.shares += 1;
                self.done += difficulty(self.rates[miner.number]);
            }
            if stays > 0 && self.dice.roll(stays) == 0 {
                gone.push(at);
            }
        }
        let away = std::mem::take(&mut self.away);
        // From the end, so that the places before stay as they are.
        for at in gone.into_iter().rev() {
            let miner = self.connected.remove(at);
            self.changes += 1;
            // Half of them connect again at once, before their ids are free.
            if self.dice.roll(2) == 0 {
                self.connect(miner.number);
                self.changes += 1;
            } else {
                self.away.push(miner.number);
            }
            if self.freed.len() < self.rates.len() {
                self.freed.push_back(miner.id);
            }
        }
        for number in away {
            if self.dice.roll((stays / AWAY).max(1)) == 0 {
                self.connect(number);
                self.changes += 1;
            } else {
                self.away.push(number);
            }
        }
    }
}

/// The difficulty of the shares of a miner with this rate.
fn difficulty(rate: f64) -> f64 {
    rate * SHARE_EVERY as f64 / HASHES_PER_WORK
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const START: u64 = 1_700_000_000;

    fn plan(stays: u64) -> ProxyPlan {
        ProxyPlan { name: "north".to_owned(), miners: 20, seed: 7, stays }
    }

    #[test]
    fn a_seed_repeats_a_run_whatever_its_steps_and_another_one_is_another() {
        let (mut one, mut other) = (ProxyModel::new(plan(60), START), ProxyModel::new(plan(60), START));
        let mut third = ProxyModel::new(ProxyPlan { seed: 8, ..plan(60) }, START);
        (1..=60).for_each(|second| one.advance(START + second * 5));
        (1..=300).for_each(|second| other.advance(START + second));
        third.advance(START + 300);
        assert_eq!(one.picture(), other.picture());
        assert_ne!(one.picture(), third.picture());
        // A clock that goes back changes nothing, nor does one that leaps make it play for ever.
        let before = one.picture();
        one.advance(START);
        assert_eq!(one.picture(), before);
        one.advance(u64::MAX);
        assert_eq!(one.picture().timestamp, u64::MAX);
    }

    #[test]
    fn miners_come_go_connect_again_and_reuse_ids_and_never_share_one() {
        let mut proxy = ProxyModel::new(plan(60), START);
        assert_eq!(proxy.picture().miners.len(), 20);
        let (mut fewest, mut owners) = (20, BTreeSet::new());
        for second in 1..=2_000 {
            proxy.advance(START + second);
            let picture = proxy.picture();
            let ids: BTreeSet<u32> = picture.miners.iter().map(|miner| miner.id).collect();
            let names: BTreeSet<&str> = picture.miners.iter().map(|miner| miner.name.as_str()).collect();
            assert!(ids.len() == picture.miners.len() && names.len() == ids.len(), "{picture:?}");
            fewest = fewest.min(ids.len());
            owners.extend(picture.miners.into_iter().map(|miner| (miner.id, miner.name)));
        }
        let ids: BTreeSet<u32> = owners.iter().map(|(id, _)| *id).collect();
        assert!(fewest < 20 && owners.len() > ids.len() + 20, "{fewest} {} {}", owners.len(), ids.len());
        assert!(proxy.changes() > 100 && proxy.freed.len() <= 20);
    }

    #[test]
    fn a_window_slides_and_tells_the_rate() {
        let mut proxy = ProxyModel::new(plan(0), START);
        let (mut sum, mut before) = (0.0, proxy.picture());
        for second in 1..=600 {
            proxy.advance(START + second);
            let picture = proxy.picture();
            for (miner, before) in picture.miners.iter().zip(&before.miners) {
                let found = miner.shares - before.shares;
                // At most the share of one second comes, and at most that of one goes.
                assert!(miner.window_shares + 1 >= before.window_shares + found);
                assert!(found <= 1 && miner.window_shares <= before.window_shares + found);
                assert!((miner.work > before.work) == (found == 1) && miner.work >= miner.window_work);
            }
            sum += picture.miners.iter().map(MinerPicture::measured_hs).sum::<f64>() / 600.0;
            before = picture;
        }
        let done = proxy.done() * HASHES_PER_WORK / 600.0;
        assert!((sum / proxy.rate_hs() - 1.0).abs() < 0.05 && (done / proxy.rate_hs() - 1.0).abs() < 0.05);
    }

    #[test]
    fn a_restart_gives_ids_anew_and_empties_the_windows_and_one_that_stands_still_changes_its_time_alone() {
        let mut proxy = ProxyModel::new(plan(60), START);
        proxy.advance(START + 300);
        proxy.restart();
        let picture = proxy.picture();
        let ids: Vec<u32> = picture.miners.iter().map(|miner| miner.id).collect();
        assert_eq!(ids, (1..=20).collect::<Vec<_>>());
        assert!(picture.miners.iter().all(|miner| miner.shares == 0 && miner.window_work == 0.0));
        proxy.advance(START + 400);
        proxy.stand_still();
        let still = proxy.picture();
        proxy.advance(START + 500);
        assert_eq!(proxy.picture(), ProxyPicture { timestamp: START + 500, ..still });
    }

    #[test]
    fn it_has_no_more_miners_than_are_allowed() {
        let many = ProxyModel::new(ProxyPlan { miners: usize::MAX, ..plan(0) }, START);
        assert_eq!(many.picture().miners.len(), MOST_MINERS);
        assert!(ProxyModel::new(ProxyPlan { miners: 0, ..plan(9) }, START).picture().miners.is_empty());
    }
}
