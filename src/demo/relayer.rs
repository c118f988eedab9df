//! The relayer of the demo, which fails now and then: it refuses, takes a call without saying so, or breaks off. It listens on a
//! port of its own and writes down each call, for the judge.

use std::{collections::BTreeSet, time::Duration};

use testkit::{Dice, RelayerAnswer, RelayerCall, RelayerServer};

/// The token that it expects.
pub(super) const TOKEN: &str = "the-token-of-the-demo";

/// How it answers the call of this number: two of three as it should.
fn answer(number: usize) -> RelayerAnswer {
    match Dice::new(number as u64).roll(12) {
        0 => RelayerAnswer::Say(503, None),
        1 => RelayerAnswer::TakeAndSay(500),
        2 => RelayerAnswer::Cut,
        3 => RelayerAnswer::Close,
        _ => RelayerAnswer::Accept,
    }
}

/// Lets it fail now and then, unless the demo is calm.
pub(super) fn start_to_fail(relayer: &RelayerServer, calm: bool) {
    relayer.answer(move |call, number| {
        let is_known = call.field("authToken") == TOKEN;
        let chosen = if calm { RelayerAnswer::Accept } else { answer(number) };
        (if is_known { chosen } else { RelayerAnswer::Say(401, None) }, Duration::ZERO)
    });
}

/// The row of the screen.
pub(super) fn shown(calls: &[RelayerCall]) -> String {
    let taken: BTreeSet<_> = calls.iter().filter(|call| call.is_taken()).map(|call| &call.key).collect();
    let failed = calls.iter().filter(|call| call.answer != RelayerAnswer::Accept).count();
    format!("the relayer has taken {} calls; {} of {} attempts failed", taken.len(), failed, calls.len())
}
