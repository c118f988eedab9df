//! The users' tables, as the systems that exist have them, and roles that use them. May create databases and roles on the
//! private server.

use super::programs::PASSWORD;
use super::{Postgres, PostgresError};

const TABLES: &str = include_str!("tables.sql");
const FIRST_INDEXES: &str = include_str!("indexes_first.sql");
const COMPOSITE_INDEXES: &str = include_str!("indexes_composite.sql");
const ROW_LEVEL_SECURITY: &str = include_str!("row_level_security.sql");

/// Which indexes the users' tables have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Indexes {
    /// Those of both migrations.
    #[default]
    All,
    /// Those of the first migration: none with two columns.
    First,
    /// Only those of primary keys.
    None,
}

/// How the users' tables are made.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserTables {
    /// Their indexes.
    pub indexes: Indexes,
    /// Whether row-level security is on: a role without BYPASSRLS sees the rows of the user that the setting `request.user_id`
    /// names, and may change none.
    pub row_level_security: bool,
    /// Whether the CHECK of a status, and those of texts and numbers, are there.
    pub unchecked: bool,
}

/// What a role may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RoleRights {
    /// What the service needs: reads all four tables, writes `jobs` and `campaign_runs.summary`.
    #[default]
    Service,
    /// The same, and row-level security does not apply.
    ServiceBypassingRowSecurity,
    /// Reads only.
    Reader,
    /// May connect, and nothing else.
    None,
}

impl Postgres {
    /// Creates a database with the users' tables.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn create_database(&self, name: &str, tables: UserTables) -> Result<(), PostgresError> {
        self.execute("postgres", &format!("CREATE DATABASE {name}")).await?;
        self.execute(name, TABLES).await?;
        let indexes = match tables.indexes {
            Indexes::All => [FIRST_INDEXES, COMPOSITE_INDEXES].concat(),
            Indexes::First => FIRST_INDEXES.to_owned(),
            Indexes::None => String::new(),
        };
        self.execute(name, &indexes).await?;
        if tables.row_level_security {
            self.execute(name, ROW_LEVEL_SECURITY).await?;
        }
        if tables.unchecked {
            self.execute(name, UNCHECKED).await?;
        }
        Ok(())
    }

    /// Creates a role without superuser rights that may log in to this database, with these rights there.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn create_role(
        &self,
        name: &str,
        database: &str,
        rights: RoleRights,
    ) -> Result<(), PostgresError> {
        let bypass =
            if rights == RoleRights::ServiceBypassingRowSecurity { "BYPASSRLS" } else { "NOBYPASSRLS" };
        let grants = match rights {
            RoleRights::None => String::new(),
            RoleRights::Reader => {
                format!("GRANT SELECT ON campaigns, campaign_runs, jobs, executions TO {name};")
            }
            RoleRights::Service | RoleRights::ServiceBypassingRowSecurity => format!(
                "GRANT SELECT ON campaigns, campaign_runs, jobs, executions TO {name};
                 GRANT INSERT, UPDATE, DELETE ON jobs TO {name};
                 GRANT UPDATE (summary) ON campaign_runs TO {name};"
            ),
        };
        let create = format!("CREATE ROLE {name} LOGIN NOSUPERUSER {bypass} PASSWORD '{PASSWORD}'; {grants}");
        self.execute(database, &create).await
    }
}

/// Removes the CHECK of each table and what else refuses odd values, as a database that grew by hand has it.
const UNCHECKED: &str = "
    ALTER TABLE campaign_runs DROP CONSTRAINT campaign_runs_status_check;
    ALTER TABLE jobs DROP CONSTRAINT jobs_status_check;
    ALTER TABLE jobs ALTER COLUMN status DROP NOT NULL, ALTER COLUMN queue DROP NOT NULL;
    ALTER TABLE executions ALTER COLUMN latency_ms DROP NOT NULL;";
