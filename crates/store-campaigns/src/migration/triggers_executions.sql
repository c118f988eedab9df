CREATE OR REPLACE TRIGGER state_tracker_execution_inserted AFTER INSERT ON executions REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION state_tracker.execution_inserted();
CREATE OR REPLACE TRIGGER state_tracker_execution_updated AFTER UPDATE ON executions
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION state_tracker.execution_updated();
CREATE OR REPLACE TRIGGER state_tracker_execution_deleted AFTER DELETE ON executions REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION state_tracker.execution_deleted();
CREATE OR REPLACE TRIGGER state_tracker_executions_truncated AFTER TRUNCATE ON executions
    FOR EACH STATEMENT EXECUTE FUNCTION state_tracker.executions_truncated();
