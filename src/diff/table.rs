//! The comparison as a table for people.

use serde_json::Value;

use super::Row;

/// As a table for people: what differs, with its reasons, then a line with the counts.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let short = |value: &Value| -> String {
        let text = match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            Value::Number(number) if number.is_f64() => format!("{:.4}", number.as_f64().unwrap_or(0.0)),
            Value::Array(items) => format!("{} items", items.len()),
            other => other.to_string(),
        };
        text.chars().take(20).collect()
    };
    let mut text = String::new();
    let mut dataset = "";
    for row in rows.iter().filter(|row| row.why.is_some() || row.why_original.is_some()) {
        if row.dataset != dataset {
            dataset = &row.dataset;
            text += &format!(
                "{dataset}\n  {:<30} {:>20} {:>20} {:>20}\n",
                "field", "computed", "in Redis", "original"
            );
        }
        let cells = [&row.computed, &row.stands, &row.original].map(short);
        text += &format!("  {:<30} {:>20} {:>20} {:>20}\n", row.field, cells[0], cells[1], cells[2]);
        if let Some(why) = &row.why {
            text += &format!("      {}: {why}\n", if row.explained { "Redis" } else { "REDIS, unexplained" });
        }
        if let Some(why) = &row.why_original {
            text += &format!("      the original {why}\n");
        }
    }
    let equal = rows.iter().filter(|row| row.why.is_none()).count();
    let unexplained = rows.iter().filter(|row| !row.explained).count();
    text + &format!("{} fields: {equal} are as computed, {unexplained} differ unexplained\n", rows.len())
}
