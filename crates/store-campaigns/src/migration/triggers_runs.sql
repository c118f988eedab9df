CREATE OR REPLACE TRIGGER state_tracker_run_inserted AFTER INSERT ON campaign_runs
    FOR EACH ROW EXECUTE FUNCTION state_tracker.run_changed();
CREATE OR REPLACE TRIGGER state_tracker_run_updated AFTER UPDATE ON campaign_runs
    FOR EACH ROW WHEN (OLD.summary IS DISTINCT FROM NEW.summary OR OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION state_tracker.run_changed();
