//! The producers at work: one event a market and second on the market's own channel, or a hundred a second on the common one. Each
//! event comes after what it tells of was written.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::UnboundedSender;

use crate::{
    producers::{Market, Producers, WINDOW, unix},
    seed::{LAST, SUBMISSIONS},
    visible::Expected,
    wire::{Batch, Tally, Wire},
};

/// How often a second events are sent, all that are due in one pipeline.
const TICKS: u64 = 50;
const TICK: Duration = Duration::from_millis(1_000 / TICKS);
/// Events a second on the common channel.
pub(crate) const COMMON_RATE: u64 = 100;
/// In so many ticks one event is watched until it is visible.
const WATCHED: u64 = 5;

/// The producers, until they are stopped.
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Sent>,
}

/// What they have sent.
pub(crate) struct Sent {
    pub(crate) events: u64,
    /// The longest time after which an event was sent too late.
    pub(crate) late: Duration,
}

/// The next event of a market.
#[derive(Clone, Copy)]
enum Step {
    Close,
    Open,
    Validator,
    Local,
    Aggregated,
    Receive,
    Process,
}

/// Where a market is.
struct State {
    /// The epoch that is open, or was last.
    epoch: u64,
    submissions: u64,
    next: Step,
    /// The minute, by the market's phase, in which the last epoch was opened.
    minute: u64,
}

impl Load {
    /// Producers of these markets, which were seeded. They are on a thread of their own, so that they wait for no task.
    pub(crate) fn start(
        server: SocketAddr,
        markets: Arc<Vec<Market>>,
        is_common: bool,
        watched: UnboundedSender<Expected>,
        tally: &Tally,
    ) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, wire) = (is_over.clone(), Wire::connect(server, tally));
        let thread = std::thread::spawn(move || produce(wire, &markets, is_common, &watched, &over));
        Self { is_over, thread }
    }

    pub(crate) fn stop(self) -> Sent {
        self.is_over.store(true, Relaxed);
        self.thread.join().expect("no panic")
    }
}

fn produce(
    mut wire: Wire,
    markets: &[Market],
    is_common: bool,
    watched: &UnboundedSender<Expected>,
    is_over: &AtomicBool,
) -> Sent {
    let mut states: Vec<State> = markets.iter().map(|market| State::seeded(market, unix())).collect();
    let (mut batch, mut sent) = (Batch::default(), Sent { events: 0, late: Duration::ZERO });
    let (began, count) = (Instant::now(), markets.len() as u64);
    for tick in 0_u64.. {
        let due = began + TICK * tick as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if is_over.load(Relaxed) {
            return sent;
        }
        let numbers: Vec<u64> = if is_common {
            let each = COMMON_RATE / TICKS;
            (tick * each..(tick + 1) * each).map(|number| number % count).collect()
        } else {
            (tick % TICKS..count).step_by(TICKS as usize).collect()
        };
        let (now, mut visible) = (unix(), Vec::new());
        for number in &numbers {
            let (market, state) = (&markets[*number as usize], &mut states[*number as usize]);
            let is_visible = state.event(&mut Producers { market, batch: &mut batch }, is_common, now);
            if is_visible && tick % WATCHED == 0 {
                visible.push((market, state.epoch, state.submissions));
            }
        }
        let at = Instant::now();
        wire.send(&mut batch);
        sent.events += numbers.len() as u64;
        sent.late = sent.late.max(due.elapsed());
        // Another one each time.
        let chosen = (tick / WATCHED) as usize % visible.len().max(1);
        if let Some(&(market, epoch, submissions)) = visible.get(chosen) {
            let key = market.key("metrics:current_epoch");
            // Closed when the bench is over.
            let _ = watched.send(Expected { key, epoch, submissions, at });
        }
    }
    sent
}

impl State {
    fn seeded(market: &Market, now: u64) -> Self {
        let minute = Self::minute(market, now);
        Self { epoch: LAST, submissions: SUBMISSIONS, next: Step::Receive, minute }
    }

    fn minute(market: &Market, now: u64) -> u64 {
        (now + market.phase) / WINDOW
    }

    /// Writes and publishes the next event. Returns whether the current epoch shows it.
    fn event(&mut self, producers: &mut Producers<'_>, is_common: bool, now: u64) -> bool {
        let minute = Self::minute(producers.market, now);
        if matches!(self.next, Step::Receive | Step::Process) && minute != self.minute {
            self.next = Step::Close;
        }
        let (epoch, number) = (self.epoch, self.submissions);
        let (event, next) = match self.next {
            Step::Close => {
                producers.close(epoch, now);
                (format!("epoch:closed:{epoch}"), Step::Open)
            }
            Step::Open => {
                (self.epoch, self.submissions, self.minute) = (epoch + 1, 0, minute);
                producers.open(epoch + 1, now);
                (format!("epoch:open:{}", epoch + 1), Step::Validator)
            }
            // The batches are those of the epoch before.
            Step::Validator => {
                (format!("batch:validator:{}", producers.validator(epoch - 1, now)), Step::Local)
            }
            Step::Local => {
                producers.local(epoch - 1, now);
                (format!("batch:local:{}", epoch - 1), Step::Aggregated)
            }
            Step::Aggregated => {
                producers.aggregated(epoch - 1, now);
                (format!("batch:aggregated:{}", epoch - 1), Step::Receive)
            }
            Step::Receive => {
                (format!("submission:received:{}", producers.receive(epoch, number, now)), Step::Process)
            }
            Step::Process => {
                self.submissions += 1;
                (format!("submission:validated:{}", producers.process(epoch, number, now)), Step::Receive)
            }
        };
        let is_visible = matches!(self.next, Step::Open | Step::Process);
        self.next = next;
        producers.publish(is_common, &event);
        is_visible
    }
}
