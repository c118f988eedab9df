//! Pictures as senders write them. They are written once; what differs from one to the next is put into its place.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time, in Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// The digits of a time.
const TIME: &str = "TTTTTTTTTT";
/// Digits that differ each time, as those of a rate do.
const NOISE: &str = "NNNNNN";

/// A line with places.
pub(crate) struct Template {
    line: Vec<u8>,
    times: Vec<usize>,
    noise: Vec<usize>,
    random: u64,
}

impl Template {
    fn new(text: String, seed: u64) -> Self {
        let places = |what| text.match_indices(what).map(|(at, _)| at).collect();
        let (times, noise) = (places(TIME), places(NOISE));
        let mut line = text.into_bytes();
        line.push(b'\n');
        Self { line, times, noise, random: seed | 1 }
    }

    /// The line at a time.
    pub(crate) fn at(&mut self, time: u64) -> &[u8] {
        let time = time.to_string();
        for place in &self.times {
            self.line[*place..*place + TIME.len()].copy_from_slice(time.as_bytes());
        }
        for place in &self.noise {
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let digits = format!("{:06}", (self.random >> 33) % 1_000_000);
            self.line[*place..*place + NOISE.len()].copy_from_slice(digits.as_bytes());
        }
        &self.line
    }

    /// The bytes of a line.
    pub(crate) fn length(&self) -> usize {
        self.line.len()
    }

    /// The status of a proxy with so many miners.
    pub(crate) fn status(proxy: usize, miners: usize) -> Self {
        let miner = |number: usize| {
            format!(
                "{{\"name\":\"bc1q-customer-{proxy}.rig{number:03}\",\"id\":{number},\"address\":\"10.{}.{}.{}:40122\",\
                 \"hashrate\":110{NOISE}000000.5,\"shares_submitted\":{},\"connected_at\":1700000000}}",
                proxy % 256,
                number / 256,
                number % 256,
                number * 17
            )
        };
        let miners: Vec<String> = (0..miners).map(miner).collect();
        let text = format!(
            "{{\"ehash_balance\":21,\"upstream_pool\":{{\"address\":\"203.0.113.5:34254\"}},\"downstream_miners\":[{}],\
             \"blockchain_network\":\"mainnet\",\"timestamp\":{TIME}}}",
            miners.join(",")
        );
        Self::new(text, proxy as u64)
    }

    /// What the same proxy has measured: windows of 60 s.
    pub(crate) fn metrics(proxy: usize, miners: usize) -> Self {
        let miner = |number: usize| {
            format!(
                "{{\"downstream_id\":{number},\"name\":\"bc1q-customer-{proxy}.rig{number:03}\",\"address\":\"10.{}.{}.{}:40122\",\
                 \"shares_lifetime\":9,\"shares_in_window\":3,\"sum_difficulty_in_window\":1{NOISE}.25,\"window_seconds\":60,\
                 \"timestamp\":{TIME}}}",
                proxy % 256,
                number / 256,
                number % 256
            )
        };
        let miners: Vec<String> = (0..miners).map(miner).collect();
        let text = format!(
            "{{\"service_type\":\"Translator\",\"downstreams\":[{}],\"timestamp\":{TIME}}}",
            miners.join(",")
        );
        Self::new(text, !proxy as u64)
    }
}
