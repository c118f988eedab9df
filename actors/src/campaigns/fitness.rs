//! Whether the database can be used as the role sees it. Row-level security hides rows without an error, so it must be asked for. Pure.

use store_campaigns::Inspection;

/// Why the database can't be used, if it can't; `writes` where this process runs status workers.
pub(super) fn unfit(inspection: &Inspection, writes: bool) -> Option<String> {
    let role = &inspection.role;
    let tables = inspection.tables.iter();
    let missing =
        tables.clone().find(|table| !table.exists).map(|table| format!("there is no table {}", table.name));
    let hidden = tables
        .clone()
        .find(|table| table.hides_rows)
        .map(|table| format!("row-level security hides the rows of {} from the role {role}", table.name));
    let column = inspection.columns.first().map(|gap| match &gap.found {
        Some(found) => format!("{}.{} is of the type {found}", gap.table, gap.column),
        None => format!("{} has no column {}", gap.table, gap.column),
    });
    let is_needed = |right: &str| writes || right == "SELECT";
    let right = inspection
        .rights
        .iter()
        .find(|right| is_needed(&right.right))
        .map(|right| format!("the role {role} lacks the right {} on {}", right.right, right.table));
    let read_only = (writes && inspection.is_read_only).then(|| "the database takes no writes".to_owned());
    missing.or(hidden).or(column).or(right).or(read_only)
}

#[cfg(test)]
mod tests {
    use store_campaigns::{TableFacts, TableRight};

    use super::*;

    fn inspection() -> Inspection {
        let tables = ["campaigns", "campaign_runs", "jobs", "executions"].map(|name| TableFacts {
            name,
            exists: true,
            hides_rows: false,
            estimated_rows: None,
        });
        Inspection {
            version: 150_000,
            role: "service".to_owned(),
            is_superuser: false,
            is_read_only: false,
            is_pooled: false,
            connections: 1,
            most_connections: 100,
            oldest_transaction: None,
            tables: tables.to_vec(),
            columns: Vec::new(),
            rights: Vec::new(),
            indexes: Vec::new(),
            latency_is_required: false,
        }
    }

    #[test]
    fn hidden_rows_make_the_database_unfit_and_so_do_missing_rights() {
        assert_eq!(unfit(&inspection(), true), None);
        let mut hidden = inspection();
        hidden.tables[2].hides_rows = true;
        assert_eq!(
            unfit(&hidden, false).as_deref(),
            Some("row-level security hides the rows of jobs from the role service")
        );
        let right = TableRight { right: "UPDATE (summary)".to_owned(), table: "campaign_runs" };
        let lacking = Inspection { rights: vec![right], ..inspection() };
        assert!(unfit(&lacking, true).is_some_and(|why| why.contains("UPDATE (summary)")));
        assert_eq!(unfit(&lacking, false), None, "a gateway only reads");
    }
}
