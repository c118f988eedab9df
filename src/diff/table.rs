//! The comparison as a table. Pure.

use serde_json::Value;

use super::Row;
use crate::escape::{escaped, shortened};

/// The width of a column of values.
const WIDTH: usize = 20;

/// The differences with their reasons, and a last line with the counts. Text from outside is escaped.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let (mut text, mut dataset, mut repeated) = (String::new(), "", 0);
    for row in rows.iter().filter(|row| row.why.is_some() || row.why_original.is_some()) {
        // Only counted: thirty lines of `stats:current` would push the summary out of sight.
        if is_repeated(row, rows) {
            repeated += 1;
            continue;
        }
        if row.dataset != dataset {
            dataset = &row.dataset;
            let head = ["computed", "in Redis", "original"].map(|name| format!("{name:>WIDTH$}")).join(" ");
            text += &format!("{}\n  {:<30} {head}\n", escaped(dataset), "field");
        }
        let cells = [&row.computed, &row.stored, &row.original].map(short);
        let cells = cells.map(|cell| format!("{cell:>WIDTH$}")).join(" ");
        text += &format!("  {:<30} {cells}\n", shortened(&row.field, 30));
        if let Some(why) = &row.why {
            // In capitals what decides the exit code.
            let explained = if row.explained { "Redis" } else { "REDIS, unexplained" };
            text += &format!("      {explained}: {}\n", escaped(why));
        }
        if let Some(why) = &row.why_original {
            text += &format!("      the original {}\n", escaped(why));
        }
    }
    if repeated > 0 {
        text += &format!("stats:current: the same {repeated} differences as dashboard:summary\n");
    }
    let equal = rows.iter().filter(|row| row.why.is_none()).count();
    let unexplained = rows.iter().filter(|row| !row.explained).count();
    text + &format!("{} fields: {equal} are equal, {unexplained} differ without an explanation\n", rows.len())
}

/// Whether the row repeats a row of the summary. `stats:current` is a copy of the summary as a hash.
fn is_repeated(row: &Row, rows: &[Row]) -> bool {
    let summary = Row { dataset: "dashboard:summary".to_owned(), ..row.clone() };
    row.dataset == "stats:current" && rows.contains(&summary)
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:.4}", number.as_f64().unwrap_or(0.0)),
        Value::Array(items) => format!("{} items", items.len()),
        other => other.to_string(),
    };
    shortened(&text, WIDTH)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(dataset: &str, field: &str, stored: Value) -> Row {
        Row {
            dataset: dataset.to_owned(),
            field: field.to_owned(),
            computed: json!(2),
            stored,
            original: Value::Null,
            why: Some("old".to_owned()),
            explained: true,
            why_original: None,
        }
    }

    #[test]
    fn the_summary_is_not_repeated_under_stats_current() {
        let same = ["dashboard:summary", "stats:current"].map(|dataset| row(dataset, "a", json!(1)));
        let text = table(&same);
        assert!(!text.contains("stats:current\n"), "{text}");
        assert!(text.contains("stats:current: the same 1 differences as dashboard:summary\n"), "{text}");
        assert!(text.ends_with("2 fields: 0 are equal, 0 differ without an explanation\n"), "{text}");
        let other = table(&[same[0].clone(), row("stats:current", "a", json!(9))]);
        assert!(other.contains("stats:current\n") && !other.contains("the same"), "{other}");
    }

    #[test]
    fn no_text_from_outside_reaches_the_terminal_unescaped() {
        let text = table(&[row("d", "\x1b[2J\u{9b}", json!("\n\x1b]0;x\x07"))]);
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
        assert_eq!(text.lines().count(), 5, "{text}");
    }
}
