CREATE INDEX campaign_runs_status ON campaign_runs (status);
CREATE INDEX jobs_queue ON jobs (queue);
CREATE INDEX jobs_type ON jobs (type);
