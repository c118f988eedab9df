//! What each market has before the service starts: 15 epochs, one a minute, of which the last one is open where there will be events.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    producers::{Market, Producers, WINDOW, unix},
    window::Mode,
    wire::{Batch, Tally, Wire},
};

const EPOCHS: u64 = 15;
const FIRST: u64 = 23_000_000;
/// The last one of each market, and its submissions.
pub(crate) const LAST: u64 = FIRST + EPOCHS - 1;
pub(crate) const SUBMISSIONS: u64 = 3;
/// The most commands of a batch.
const AT_ONCE: usize = 10_000;

/// Writes the markets as they are now. Returns the number of commands.
pub(crate) async fn seed(server: SocketAddr, markets: Arc<Vec<Market>>, mode: Mode, tally: Tally) -> u64 {
    let write = move || {
        // An open window that nobody closes has a pass a second once its time is over.
        let (now, is_idle) = (unix(), mode == Mode::Idle);
        let (mut wire, mut batch, mut sent) = (Wire::connect(server, &tally), Batch::default(), 0);
        for market in markets.iter() {
            let opened = now - market.phase - if is_idle { WINDOW } else { 0 };
            epochs(&mut Producers { market, batch: &mut batch }, opened, is_idle);
            if batch.len() >= AT_ONCE {
                sent += batch.len() as u64;
                wire.send(&mut batch);
            }
        }
        sent += batch.len() as u64;
        wire.send(&mut batch);
        sent
    };
    tokio::task::spawn_blocking(write).await.expect("no panic")
}

/// The epochs of one market, of which the last one was opened at `opened`, a minute ago where it is finished.
fn epochs(producers: &mut Producers<'_>, opened: u64, is_idle: bool) {
    for epoch in FIRST..=LAST {
        let at = opened - (LAST - epoch) * WINDOW;
        producers.open(epoch, at);
        for number in 0..SUBMISSIONS {
            producers.receive(epoch, number, at);
            producers.process(epoch, number, at);
        }
        if epoch < LAST || is_idle {
            let after = |share| at + WINDOW * share / 5;
            producers.validator(epoch, after(1));
            producers.close(epoch, after(2));
            producers.local(epoch, after(3));
            producers.aggregated(epoch, after(4));
        }
    }
}
