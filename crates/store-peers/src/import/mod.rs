//! The import of a database of the former service into a history, under the name of one source.
//!
//! Two schemas are known. The deployed one has measured samples in windows that overlap; the older one has declared hashrates. Each
//! sample counts for the time since the peer's sample before it, at most its window. What the file has is not believed: values
//! that can't be are counted by reason and left out.
//!
//! An import can be repeated: of samples the file notes how far the import is, in the transaction that writes them, so a second
//! one, or one after a crash, goes on behind it. Quotes are compared one by one. The total of all sources is not imported: what
//! other sources computed in that time is unknown here.

mod file;
mod options;
mod report;
mod samples;
mod wallet;

use std::path::Path;

use crate::{
    error::{HistoryError, HistoryErrorKind},
    history::History,
    operations::IMPORT_HISTORY,
    sample::check_source,
};
use file::Former;
pub use options::ImportOptions;
pub use report::{FormerSchema, ImportReport, PartReport, Unusable};

impl History {
    /// Imports a file of the former service, in steps of one transaction each, with the maintenance that becomes due. It may
    /// take minutes.
    ///
    /// # Errors
    /// [`HistoryError`] when the file can't be read, has no table of the former service, or the history can't be written. What was
    /// imported before the error stays, and a repetition goes on behind it.
    pub fn import(&mut self, file: &Path, options: &ImportOptions) -> Result<ImportReport, HistoryError> {
        if check_source(&options.source).is_err() {
            let detail = "the name of the source is empty or too long";
            return Err(HistoryError::new(IMPORT_HISTORY, file, HistoryErrorKind::Failed, detail));
        }
        self.now = Some(options.now);
        let former = Former::open(file)?;
        let mut report =
            ImportReport { schema: former.schema, dry_run: options.dry_run, ..ImportReport::default() };
        report.passed_over.clone_from(&former.passed_over);
        samples::import(self, &former, options, &mut report)?;
        wallet::import_quotes(self, &former, options, &mut report)?;
        wallet::import_balance(self, &former, options, &mut report)?;
        Ok(report)
    }
}
