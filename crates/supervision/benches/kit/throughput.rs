//! Messages a second of the kit, relative to a bounded channel of `tokio` and to the actors of `ractor` and `kameo`: in wall
//! time on two threads, and in CPU time on one, which other processes disturb little.

use std::{hint::black_box, sync::Arc};

use tokio::runtime::{Builder, Runtime};

use crate::{
    clocks,
    kit::{Part, Running, Sender},
    peers,
    race::{Contestant, Handle, Handled, Now, SendAll, rates, ratios, stop},
    report::{Goal, Report, quantile},
};

/// Messages of one iteration.
const MESSAGES: u64 = 200_000;
const ROUNDS: usize = 41;
/// Room and batch of every bounded queue here.
const ROOM: usize = 1_024;
const BATCH: usize = 256;

pub(crate) fn measure(runtime: &Runtime, report: &mut Report) {
    // On two threads, chance decides which tasks share one, and the figures have several modes.
    compare(runtime, report, ("2 threads", clocks::wall));
    let one = Builder::new_current_thread().enable_all().build().unwrap();
    compare(&one, report, ("1 thread, CPU", clocks::thread_cpu));
}

/// Adds the figures of all contestants on this runtime.
fn compare(runtime: &Runtime, report: &mut Report, (threads, now): (&str, Now)) {
    let contestants: Vec<_> = [channel, batches, each, ractor, kameo].map(|start| start(runtime)).into();
    let least = [("1 sender", 1, [0.9, 0.7, 3.0]), ("4 senders", 4, [1.1, 0.7, 3.0])];
    for (from, senders, [in_batches, one_by_one, over_actors]) in least {
        let rates = rates(runtime, &contestants, (senders, MESSAGES), now, ROUNDS);
        let [channel, batches, each, ractor, kameo] = &rates[..] else { unreachable!("one a contestant") };
        let names = ["recv_many on a channel", "leases in batches", "leases one by one", "ractor", "kameo"];
        for (name, rates) in names.iter().zip(&rates) {
            let millions: Vec<f64> = rates.iter().map(|rate| rate / 1e6).collect();
            report.median(format!("{name}, {from}, {threads}: messages/s"), " M", &millions, Goal::None);
        }
        let mut ratio = |what: &str, of: &[f64], to: &[f64], least| {
            let what = format!("{what}, {from}, {threads}");
            report.median(what, "", &ratios(of, to), Goal::AtLeast(least));
        };
        ratio("leases in batches / recv_many", batches, channel, in_batches);
        ratio("leases one by one / recv_many", each, channel, one_by_one);
        let (name, better) =
            if quantile(ractor, 0.5) > quantile(kameo, 0.5) { ("ractor", ractor) } else { ("kameo", kameo) };
        ratio(&format!("leases one by one / {name} (the better)"), each, better, over_actors);
    }
    stop(runtime, contestants);
}

fn counting() -> (Arc<Handled>, impl Handle) {
    let handled = Arc::new(Handled::default());
    let counted = handled.clone();
    let handle = move |tick| {
        black_box(tick);
        counted.one();
    };
    (handled, handle)
}

fn channel(runtime: &Runtime) -> Arc<Contestant> {
    let (handled, handle) = counting();
    Contestant::bare(&handled, peers::channel_in_batches(runtime, ROOM, BATCH, handle))
}

fn ractor(runtime: &Runtime) -> Arc<Contestant> {
    let (handled, handle) = counting();
    Contestant::bare(&handled, peers::ractor(runtime, handle))
}

fn kameo(runtime: &Runtime) -> Arc<Contestant> {
    let (handled, handle) = counting();
    Contestant::bare(&handled, peers::kameo(runtime, ROOM, handle))
}

fn each(runtime: &Runtime) -> Arc<Contestant> {
    let (handled, handle) = counting();
    let part = Part::new("counter", ROOM, BATCH);
    let send = into_mailbox(part.sender());
    Contestant::supervised(&handled, send, runtime.block_on(Running::start(vec![part.each(handle)])))
}

fn batches(runtime: &Runtime) -> Arc<Contestant> {
    let (handled, handle) = counting();
    let part = Part::new("counter", ROOM, BATCH);
    let send = into_mailbox(part.sender());
    Contestant::supervised(&handled, send, runtime.block_on(Running::start(vec![part.batches(handle)])))
}

/// Sends into a mailbox of the kit.
pub(crate) fn into_mailbox(sender: Sender) -> SendAll {
    Box::new(move |ticks| {
        let sender = sender.clone();
        Box::pin(async move {
            for tick in 0..ticks {
                sender.send(tick).await;
            }
        })
    })
}
