//! How errors of the database are reported.

use errors::{Kind, Operation};
use store_campaigns::DatabaseError;

use crate::env::report::Report;

impl Report for DatabaseError {
    fn operation(&self) -> Operation {
        self.operation
    }

    fn kind(&self) -> Kind {
        self.kind.row()
    }

    fn subject(&self) -> String {
        self.object.clone()
    }

    fn needs_operator(&self) -> bool {
        // Outages end by themselves; rights, tables and settings need somebody.
        !self.kind.is_outage()
    }
}
