//! The numbered databases of a server.

use super::Inspector;
use crate::error::StoreError;

impl Inspector {
    /// The numbers of the databases that have keys, the lowest first, or the server's refusal as text.
    ///
    /// # Errors
    /// [`StoreError`] if the server does not answer.
    pub async fn databases(&mut self) -> Result<Result<Vec<i64>, String>, StoreError> {
        let info = self.query_as::<String>(&["INFO", "keyspace"]).await?;
        Ok(info.map(|info| numbers(&info)))
    }

    /// Moves this connection to another database, or returns the server's refusal as text. The connection belongs to this inspector
    /// alone: no session changes its database.
    ///
    /// # Errors
    /// [`StoreError`] if the server does not answer.
    pub async fn select(&mut self, database: i64) -> Result<Result<(), String>, StoreError> {
        Ok(self.query(&["SELECT", &database.to_string()]).await?.map(drop))
    }
}

/// The numbers in `INFO keyspace`: `db0:keys=7,expires=1,avg_ttl=0`.
fn numbers(info: &str) -> Vec<i64> {
    let lines = info.lines().filter_map(|line| line.strip_prefix("db")?.split_once(':'));
    let mut all: Vec<i64> = lines.filter_map(|(number, _)| number.parse().ok()).collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_numbered_in_ascending_order_and_other_lines_are_none() {
        let info =
            "# Keyspace\r\ndb10:keys=1,expires=0,avg_ttl=0\r\ndb2:keys=3,expires=0\r\ndbx:keys=1\r\ndb7\r\n";
        assert_eq!(numbers(info), [2, 10]);
        assert_eq!(numbers(""), Vec::<i64>::new());
    }
}
