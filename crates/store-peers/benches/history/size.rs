//! The bytes of a miner and a day at each level, and of the tail.

use rusqlite::Connection;
use store_peers::{History, Sample};

use crate::samples::{START, limits, miners, picture, place, write};

const MINERS: usize = 100;
const DAY: i64 = 86_400;
const INTERVAL: i64 = 5;

pub(crate) fn measure() {
    for (name, declared) in [("measured", false), ("measured and declared", true)] {
        let (_folder, file) = place();
        let mut history = History::open(&file, limits()).expect("opened");
        let subjects = miners(MINERS);
        let mut bytes_of_tail = 0.0;
        for (number, time) in (START..START + DAY).step_by(INTERVAL as usize).enumerate() {
            let mut samples = picture(&subjects, time, INTERVAL as f64);
            for sample in samples.iter_mut().filter(|_| declared) {
                sample.declared_hs = sample.work.map(|work| work * 1e9);
            }
            write(&mut history, &samples);
            let written = (number + 1) * samples.len();
            if number == 500 {
                bytes_of_tail = of_table(&file, "tail_0") / written as f64;
            }
            if number % 120 == 0 && number > 500 {
                history.compact().expect("compacted");
            }
            drop::<Vec<Sample>>(samples);
        }
        history.compact().expect("compacted");
        println!("{name}, a sample each {INTERVAL} s, bytes a miner and day:");
        for level in ["raw", "minutes", "hours"] {
            println!("  {level:<8} {:>9.0}", of_table(&file, level) / MINERS as f64);
        }
        println!("  in the tail {bytes_of_tail:.1} bytes a sample");
    }
}

/// The bytes of all pages of a table.
fn of_table(file: &std::path::Path, table: &str) -> f64 {
    let connection = Connection::open(file).expect("opened");
    let sql = "SELECT sum(pgsize) FROM dbstat WHERE name = ?1";
    connection.query_row(sql, [table], |row| row.get(0)).expect("a number")
}
