//! The row of the campaigns on the screen. Pure.

use super::seen::SeenCampaigns;

/// The row.
pub(super) fn row(seen: &SeenCampaigns) -> String {
    let running: Vec<_> = seen.runs.values().filter(|run| run.status == "running").collect();
    let sum = |field: &str| running.iter().filter_map(|run| run.metrics[field].as_u64()).sum::<u64>();
    let (succeeded, failed) = (sum("succeededJobs"), sum("failedJobs"));
    let rate = match succeeded + failed {
        0 => "none done".to_owned(),
        done => format!("{:.0} % succeeded", 100.0 * succeeded as f64 / done as f64),
    };
    format!(
        "{} running runs, {} jobs, {rate}, statuses {}, alerts {}",
        running.len(),
        sum("totalJobs"),
        seen.count("campaign:status"),
        seen.count("campaign:alert")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_row_tells_of_the_running_runs_and_of_the_events() {
        let mut seen = SeenCampaigns::default();
        assert_eq!(row(&seen), "0 running runs, 0 jobs, none done, statuses 0, alerts 0");
        for (run, status) in [("a", "running"), ("b", "running"), ("c", "completed")] {
            let metrics = json!({ "totalJobs": 10, "succeededJobs": 3, "failedJobs": 1 });
            let event = json!({ "eventId": 1, "runId": run, "campaignId": "x", "status": status, "metrics": metrics });
            seen.take("campaign:status", event);
        }
        seen.take("campaign:alert", json!({}));
        assert_eq!(row(&seen), "2 running runs, 20 jobs, 75 % succeeded, statuses 3, alerts 1");
    }
}
