-- The tables that the campaign status reads, for an empty database. An existing database is left as it is: apply this by hand,
-- once, with
--     psql "$DATABASE_URL" --set ON_ERROR_STOP=1 --file config/campaigns.sql
-- PostgreSQL 14 or newer. It is one transaction, and fails where one of the tables exists.

BEGIN;

CREATE TABLE campaigns (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    name text NOT NULL,
    -- status_interval_seconds and alert_threshold of the campaign, beside what belongs to others.
    params jsonb NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'draft'
        CHECK (status IN ('draft', 'active', 'paused', 'stopped', 'completed')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE campaign_runs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    campaign_id uuid NOT NULL REFERENCES campaigns (id) ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'running'
        CHECK (status IN ('running', 'paused', 'stopped', 'completed', 'failed')),
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    -- The metrics of the run; the service writes them.
    summary jsonb
);

CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    run_id uuid NOT NULL REFERENCES campaign_runs (id) ON DELETE CASCADE,
    queue text NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'processing', 'succeeded', 'failed', 'cancelled')),
    attempts integer NOT NULL DEFAULT 0,
    error jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE executions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job_id uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    tx_signature text,
    latency_ms integer NOT NULL,
    -- The costs of a transaction, where known: tip_lamports, fee_lamports.
    result jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX campaign_runs_campaign_id_started_at ON campaign_runs (campaign_id, started_at DESC);
CREATE INDEX campaign_runs_status ON campaign_runs (status);
CREATE INDEX jobs_run_id_created_at ON jobs (run_id, created_at DESC);
CREATE INDEX jobs_run_id_status ON jobs (run_id, status);
CREATE INDEX jobs_queue ON jobs (queue);
CREATE INDEX jobs_type ON jobs (type);
CREATE INDEX executions_job_id_created_at ON executions (job_id, created_at DESC);

COMMIT;
