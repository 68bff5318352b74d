-- The control schema: what was run, how far it came, what was found. Nothing of it is visible to the API roles.
create schema if not exists crm_migration;
revoke all on schema crm_migration from public;
comment on schema crm_migration is 'crm-migrate: runs, steps, batches, rejected rows and findings. The purge of the archive leaves the runs and empties the rest.';

create table if not exists crm_migration.runs (
    run_id text primary key,
    kind text not null check (kind in ('dry-run', 'apply', 'rollback', 'purge')),
    state text not null check (state in ('running', 'passed', 'no_go', 'stopped', 'failed', 'completed', 'rolled_back')),
    generation text,
    inputs jsonb not null default '{}',
    settings jsonb not null default '{}',
    accepted jsonb not null default '{}',
    dry_run_id text references crm_migration.runs (run_id),
    operator text not null,
    host text not null,
    pid integer not null,
    verdict text,
    summary jsonb not null default '{}',
    error jsonb,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    locked_at timestamptz,
    cutover_at timestamptz,
    unlocked_at timestamptz,
    rollback_until timestamptz,
    archive_until timestamptz
);

create table if not exists crm_migration.steps (
    run_id text not null references crm_migration.runs (run_id) on delete cascade,
    position integer not null,
    name text not null,
    state text not null default 'pending' check (state in ('pending', 'running', 'done', 'failed')),
    attempts integer not null default 0,
    rows bigint,
    inputs text,
    detail jsonb not null default '{}',
    error text,
    started_at timestamptz,
    finished_at timestamptz,
    primary key (run_id, name),
    unique (run_id, position)
);

-- which run a build schema belongs to: dbt asks here when a model executes, so that no --vars make it parse again
create table if not exists crm_migration.builds (
    schema_name text primary key,
    run_id text not null,
    batch_size integer not null
);
-- a dry run's build that waits for its apply, and how many transactions there had been by then
alter table crm_migration.builds
add column if not exists kept_at timestamptz,
add column if not exists kept_in text,
add column if not exists kept_transaction numeric;

create table if not exists crm_migration.findings (
    run_id text not null,
    gate text not null,
    check_id text not null,
    code text not null,
    entity text not null,
    severity text not null,
    rows bigint not null,
    sample_keys jsonb not null default '[]',
    message text not null,
    hint text not null default '',
    primary key (run_id, gate, code, entity)
);

create table if not exists crm_migration.finding_rows (
    run_id text not null,
    gate text not null,
    code text not null,
    entity text not null,
    severity text not null,
    row_key text not null,
    primary key (run_id, gate, code, entity, row_key)
);

-- kept apart from the build schema, which goes away: the oracles ask for it as long as the archive lives
create table if not exists crm_migration.excluded_rows (
    run_id text not null,
    entity text not null,
    row_key text not null,
    rule text not null,
    primary key (run_id, entity, row_key)
);

create table if not exists crm_migration.resource_samples (
    run_id text not null,
    sampled_at timestamptz not null default clock_timestamp(),
    step text,
    cpu_percent real,
    memory_bytes bigint,
    disk_read_bytes bigint,
    disk_write_bytes bigint,
    disk_free_bytes bigint,
    rows_done bigint,
    primary key (run_id, sampled_at)
);
