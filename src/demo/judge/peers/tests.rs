//! A service that is right, and what the judge finds when one thing of it is wrong.

use testkit::peers::{Balance, FIRST_QUOTE, PoolModel, PoolPlan, ProxyModel, ProxyPlan};

use super::*;
use crate::demo::peers::ProxyTruth;

const START: u64 = 1_700_000_010;
const END: u64 = START + 30;

fn proxy(name: &str, is_mortal: bool, is_dead: bool) -> ProxyTruth {
    let plan = ProxyPlan { name: name.to_owned(), miners: 4, seed: 5, stays: 30 };
    let mut model = ProxyModel::new(plan, START);
    let mut truth = ProxyTruth { is_mortal, rate_hs: model.rate_hs(), ..ProxyTruth::default() };
    for second in START..=END {
        model.advance(second);
        truth.measured.take(&model.picture());
    }
    truth.newest = (!is_dead).then(|| model.picture());
    truth
}

fn truth() -> PeersTruth {
    let mut pool = PoolModel::new(PoolPlan { proxies: 3, seed: 5, stays: 60 }, START);
    pool.advance(END);
    PeersTruth {
        proxies: [("a", proxy("a", false, false)), ("b", proxy("b", true, true))].into(),
        pool: Some((pool.picture(), pool.balance())),
        quotes: pool.quotes_made(),
        lies: [("syntax", 30), ("older", 10)].into(),
        leaps: 10,
    }
}

/// What a service without a fault shows and keeps.
fn right(truth: &PeersTruth) -> (Seen, Kept) {
    let newest = truth.proxies["a"].newest.as_ref().expect("it lives");
    let seen = Seen {
        miners: newest.miners.iter().map(|miner| expected_miner("a", miner)).collect(),
        connections: connections(&truth.pool.as_ref().expect("a pool").0),
        services: ["Pool", "Mint", "JobDeclarator"].map(|one| (POOL.to_owned(), one.to_owned())).into(),
        stale: vec!["b".to_owned()],
        haunted: Vec::new(),
    };
    let measured = &truth.proxies["a"].measured;
    let range = |from: u64| (from..from + 15, measured.rate_hs(from..from + 15).expect("measured"));
    let rates = vec![range(START), range(START + 15)];
    let kept = Kept {
        total: rates.clone(),
        rates: [("a".to_owned(), rates)].into(),
        seconds: [("a".to_owned(), measured.seconds(START..END + 1))].into(),
        dropped: [("syntax".to_owned(), 30), ("older".to_owned(), 10)].into(),
        clocks: 10,
        quotes: (0..truth.quotes).map(|number| FIRST_QUOTE + number).collect(),
        balance: truth.pool.as_ref().map(|(_, balance)| balance.amount),
        restarts: [0, 0],
    };
    (seen, kept)
}

#[test]
fn a_service_without_a_fault_is_found_right_also_where_crashes_explain_what_is_missing() {
    let truth = truth();
    let (seen, mut kept) = right(&truth);
    let all = Comparison::of(&truth, &seen, &kept);
    assert_eq!(all.findings, Findings::default());
    let miners = seen.miners.len();
    assert_eq!((all.miners, all.connections, all.rates, all.lies), (miners, 3, 4, 40));
    assert!((all.seconds - 90.0).abs() < 1e-9, "{}", all.seconds);
    kept.restarts = [1, 1];
    *kept.seconds.get_mut("a").expect("a") -= 5.0;
    kept.dropped.insert("syntax".to_owned(), 12);
    assert_eq!(Comparison::of(&truth, &seen, &kept).findings, Findings::default());
    kept.restarts = [0, 0];
    assert_eq!(Comparison::of(&truth, &seen, &kept).findings.all().len(), 2);
}

type Change = fn(&mut PeersTruth, &mut Seen, &mut Kept);

#[test]
fn whatever_is_wrong_is_found() {
    let changes: [(Change, &str); 20] = [
        (|_, seen, _| drop(seen.miners.pop()), "of a is not shown"),
        (|_, seen, _| seen.miners.push(seen.miners[0].clone()), "is shown twice"),
        (|_, seen, _| seen.miners[0].source = "b".to_owned(), "and b is not there any more"),
        (|_, seen, _| seen.miners[0].id = 4_711, "and a does not tell of it"),
        (|_, seen, _| seen.miners[0].name.push('x'), "its proxy told of"),
        (|_, seen, _| seen.miners[0].shares_submitted += 1, "its proxy told of"),
        (|_, seen, _| seen.miners[0].measured_hashrate = Some(seen.miners[0].hashrate), "its proxy told of"),
        (|_, seen, _| seen.miners[0].measured_hashrate = None, "its proxy told of"),
        (|_, seen, _| drop(seen.connections.pop()), "the pool told of the connections"),
        (|_, seen, _| seen.connections[0].quotes_created += 1, "the pool told of the connections"),
        (|_, seen, _| drop(seen.services.pop()), "the pool has the services"),
        (
            |_, seen, _| seen.haunted.push("/api/stats".to_owned()),
            "/api/stats shows what the lying sender told",
        ),
        // What was declared in the place of what was measured, and windows that were added up.
        (|_, _, kept| kept.rates.get_mut("a").expect("a")[1].1 *= 1.25, "the history of a has"),
        (|_, _, kept| kept.total[1].1 *= 12.0, "the history of all has"),
        (
            |_, _, kept| *kept.seconds.get_mut("a").expect("a") -= 4.0,
            "0 crashes of its actor explain 3 at most",
        ),
        (|_, _, kept| *kept.seconds.get_mut("a").expect("a") += 60.0, "some count twice"),
        (|_, _, kept| _ = kept.dropped.remove("syntax"), "told 50 lies, 20 were counted"),
        (|truth, _, _| _ = truth.lies.insert("older", 9), "10 lines were dropped as older, 9 were told"),
        (|_, _, kept| kept.quotes.push(FIRST_QUOTE), "a quote is in the history twice"),
        (|_, _, kept| kept.quotes.push(3), "a quote of Some(3), which nobody created"),
    ];
    for (change, finding) in changes {
        let mut truth = truth();
        let (mut seen, mut kept) = right(&truth);
        change(&mut truth, &mut seen, &mut kept);
        let found = Comparison::of(&truth, &seen, &kept).findings.all().join("\n");
        assert!(found.contains(finding), "{finding}\nfound: {found}");
    }
}

#[test]
fn a_wrong_balance_and_an_invented_time_are_found() {
    let mut truth = truth();
    let (seen, mut kept) = right(&truth);
    kept.rates.get_mut("a").expect("a").push((1..16, 1.0));
    let (_, balance) = truth.pool.as_mut().expect("a pool");
    *balance = Balance { amount: balance.amount + 1, ..*balance };
    let found = Comparison::of(&truth, &seen, &kept).findings.all().join("\n");
    for finding in ["has a rate where nothing was told", "the wallet has"] {
        assert!(found.contains(finding), "{finding}\nfound: {found}");
    }
}
