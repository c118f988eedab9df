//! Sends a picture of this host's miners every 10 seconds: `cargo run -p peer-snapshots --example send_pictures HOST:PORT`.

use std::{env, error::Error, thread, time::Duration, time::SystemTime};

use peer_snapshots::{Destination, Message, MinerInfo, MinerSnapshot, Sender};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8082".to_owned());
    let sender = Sender::start(Destination::new(address))?;
    loop {
        let timestamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        // Ask your own tracker here: it alone knows who is connected.
        let (name, address, connected_at) = ("rig".to_owned(), None, 1_700_000_000);
        let miner =
            MinerInfo { downstream_id: 1, name, address, hashrate: 1e12, shares_submitted: 7, connected_at };
        sender.send(Message::Miners(MinerSnapshot { miners: vec![miner], timestamp }));
        thread::sleep(Duration::from_secs(10));
    }
}
