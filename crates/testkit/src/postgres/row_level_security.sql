-- Policies for reading only on runs, jobs and executions, as the contract describes.
ALTER TABLE campaigns ENABLE ROW LEVEL SECURITY;
ALTER TABLE campaign_runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE executions ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_campaigns ON campaigns
    USING (user_id::text = current_setting('request.user_id', true));
CREATE POLICY runs_of_own_campaigns ON campaign_runs FOR SELECT
    USING (EXISTS (SELECT FROM campaigns WHERE campaigns.id = campaign_id));
CREATE POLICY jobs_of_own_runs ON jobs FOR SELECT
    USING (EXISTS (SELECT FROM campaign_runs WHERE campaign_runs.id = run_id));
CREATE POLICY executions_of_own_jobs ON executions FOR SELECT
    USING (EXISTS (SELECT FROM jobs WHERE jobs.id = job_id));
