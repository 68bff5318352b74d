-- As much of the platform's login schema as the CRM refers to, and a probe for tests.
create schema if not exists auth;
create schema if not exists extensions;

grant usage on schema auth, extensions, public to anon, authenticated, service_role;

create table if not exists auth.users (
    id uuid primary key,
    email text,
    raw_user_meta_data jsonb,
    created_at timestamptz not null default now()
);

create or replace function auth.jwt() returns jsonb
language sql
stable
set search_path = ''
as $$
    select nullif(current_setting('request.jwt.claims', true), '')::jsonb
$$;

create or replace function auth.uid() returns uuid
language sql
stable
set search_path = ''
as $$
    select nullif(auth.jwt() ->> 'sub', '')::uuid
$$;

create or replace function auth.role() returns text
language sql
stable
set search_path = ''
as $$
    select nullif(auth.jwt() ->> 'role', '')
$$;

-- The application's triggers call other services over HTTP. Here they leave a line instead, so a test can
-- prove that a bulk update did not set them off.
create table if not exists auth.callouts (
    id bigint generated always as identity primary key,
    who text not null,
    at timestamptz not null default clock_timestamp()
);

create or replace function auth.call_out(who text) returns void
language sql
security definer
set search_path = ''
as $$
    insert into auth.callouts (who) values (call_out.who)
$$;

-- The platform gives its API roles everything on what the owner creates in public; row level security does the rest.
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
