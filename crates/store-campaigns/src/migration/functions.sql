-- The trigger functions. They run as the owner of our schema, so a role that writes jobs needs no right on it. Every name and
-- operator is qualified, since the caller sets the search path; a SET clause would cost each statement more than the append.
-- Nothing in them can be refused: no constraint, no array that grows with the statement, no cast that fails.
--
-- They copy rows and leave the rest to the service: each expression, aggregate or condition here would cost a statement of one row
-- more than the copy itself, since its plan is started anew each time.

CREATE OR REPLACE FUNCTION state_tracker.job_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO state_tracker.job_changes (xid, kind, job, run, queue, type, status)
    SELECT pg_catalog.pg_current_xact_id(), 'i', id, run_id, queue, type, status FROM new_rows;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION state_tracker.job_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO state_tracker.job_changes (xid, kind, job, run, queue, type, status)
    SELECT pg_catalog.pg_current_xact_id(), 'n', id, run_id, queue, type, status FROM new_rows;
    -- Two statements: a UNION ALL takes longer to start than both.
    INSERT INTO state_tracker.job_changes (xid, kind, job, run, queue, type, status)
    SELECT pg_catalog.pg_current_xact_id(), 'o', id, run_id, queue, type, status FROM old_rows;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION state_tracker.job_moved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    -- The job's executions go with it, and are counted in another run from now on: both runs are counted anew.
    INSERT INTO state_tracker.job_changes (xid, kind, run)
    VALUES (pg_catalog.pg_current_xact_id(), 'm', OLD.run_id), (pg_catalog.pg_current_xact_id(), 'm', NEW.run_id);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION state_tracker.job_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    -- The deleted jobs' executions can't be found any more: their runs are counted anew.
    INSERT INTO state_tracker.job_changes (xid, kind, job, run, queue, type, status)
    SELECT pg_catalog.pg_current_xact_id(), 'd', id, run_id, queue, type, status FROM old_rows;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION state_tracker.jobs_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO state_tracker.job_changes (xid, kind) VALUES (pg_catalog.pg_current_xact_id(), 't');
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION state_tracker.execution_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO state_tracker.execution_changes (xid, kind, id)
    SELECT pg_catalog.pg_current_xact_id(), 'i', id FROM new_rows;
    RETURN NULL;
END $$;

-- What a changed or deleted execution had counted is not known: its run is counted anew.
CREATE OR REPLACE FUNCTION state_tracker.execution_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO state_tracker.execution_changes (xid, kind, id)
    SELECT pg_catalog.pg_current_xact_id(), 'j', job_id FROM old_rows
    UNION ALL SELECT pg_catalog.pg_current_xact_id(), 'j', job_id FROM new_rows;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION state_tracker.execution_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO state_tracker.execution_changes (xid, kind, id)
    SELECT pg_catalog.pg_current_xact_id(), 'j', job_id FROM old_rows;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION state_tracker.executions_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO state_tracker.execution_changes (xid, kind) VALUES (pg_catalog.pg_current_xact_id(), 't');
    RETURN NULL;
END $$;

-- The id alone: a payload over 8,000 bytes would be refused. A full queue, which a listener in a long transaction causes, refuses
-- the commit of every notifying transaction: then nothing is notified, and the reader's own interval finds the change. Where the
-- server allows prepared transactions, nothing is notified either, since a notifying transaction can't be prepared; an operator who
-- knows that none of those changes a run sets `state_tracker.notify` to `on` for the database.
CREATE OR REPLACE FUNCTION state_tracker.run_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF (pg_catalog.current_setting('max_prepared_transactions') OPERATOR(pg_catalog.=) '0'::pg_catalog.text
            OR pg_catalog.current_setting('state_tracker.notify', true) OPERATOR(pg_catalog.=) 'on'::pg_catalog.text)
        AND pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) 0.5::pg_catalog.float8 THEN
        PERFORM pg_catalog.pg_notify('state_tracker_runs', NEW.id::pg_catalog.text);
    END IF;
    RETURN NULL;
END $$;
