//! What Linux tells of a process.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::fs;

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).expect("procfs")
}

/// The seconds of CPU that it has used.
pub(crate) fn cpu(pid: u32) -> f64 {
    let stat = read(pid, "stat");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    // Linux counts in hundredths of a second here (`USER_HZ`).
    ticks / 100.0
}

/// The number of this line, whose name ends with a colon, in one of its files.
pub(crate) fn number(pid: u32, file: &str, name: &str) -> f64 {
    let text = read(pid, file);
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Its memory in bytes: now (`VmRSS:`), or the most that it has had (`VmHWM:`).
pub(crate) fn memory(pid: u32, name: &str) -> f64 {
    number(pid, "status", name) * 1_024.0
}
