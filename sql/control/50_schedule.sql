-- When the maintenance is planned, for the notices, the status page and the application's banner.
create table if not exists crm_migration.schedule (
    plan_id text primary key,
    starts_at timestamptz not null,
    minutes integer not null check (minutes > 0),
    planned_by text not null,
    planned_at timestamptz not null default clock_timestamp(),
    replaces text references crm_migration.schedule (plan_id),
    ended_at timestamptz,
    called_off boolean not null default false,
    -- null once it was replaced or called off, so that there is at most one
    in_force boolean default true unique check (in_force)
);
