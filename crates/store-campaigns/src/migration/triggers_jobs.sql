CREATE OR REPLACE TRIGGER state_tracker_job_inserted AFTER INSERT ON jobs REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION state_tracker.job_inserted();
CREATE OR REPLACE TRIGGER state_tracker_job_updated AFTER UPDATE ON jobs
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION state_tracker.job_updated();
-- Looked at only where a statement sets one of these columns.
CREATE OR REPLACE TRIGGER state_tracker_job_moved AFTER UPDATE OF run_id, queue, type ON jobs
    FOR EACH ROW WHEN (OLD.run_id IS DISTINCT FROM NEW.run_id
        OR ((OLD.queue, OLD.type) IS DISTINCT FROM ('status', 'aggregate-status'))
            <> ((NEW.queue, NEW.type) IS DISTINCT FROM ('status', 'aggregate-status')))
    EXECUTE FUNCTION state_tracker.job_moved();
CREATE OR REPLACE TRIGGER state_tracker_job_deleted AFTER DELETE ON jobs REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION state_tracker.job_deleted();
CREATE OR REPLACE TRIGGER state_tracker_jobs_truncated AFTER TRUNCATE ON jobs
    FOR EACH STATEMENT EXECUTE FUNCTION state_tracker.jobs_truncated();
