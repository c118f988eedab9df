CREATE INDEX campaign_runs_campaign_started ON campaign_runs (campaign_id, started_at DESC);
CREATE INDEX jobs_run_created ON jobs (run_id, created_at DESC);
CREATE INDEX jobs_run_status ON jobs (run_id, status);
CREATE INDEX executions_job_created ON executions (job_id, created_at DESC);
