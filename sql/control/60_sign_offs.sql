-- What people looked at after the migration and said of it: one row per record, and every word that was ever said in the history.
create table if not exists crm_migration.sign_offs (
    run_id text not null references crm_migration.runs (run_id) on delete cascade,
    entity text not null,
    row_key text not null,
    verdict text not null check (verdict in ('as expected', 'wrong')),
    note text not null default '',
    signed_by text not null check (btrim(signed_by) <> ''),
    signed_at timestamptz not null default clock_timestamp(),
    primary key (run_id, entity, row_key)
);

create table if not exists crm_migration.sign_off_history (
    id bigint generated always as identity primary key,
    operation text not null,
    run_id text not null,
    entity text not null,
    row_key text not null,
    verdict text not null,
    note text not null,
    signed_by text not null,
    signed_at timestamptz not null
);

create or replace function crm_migration.keep_sign_off() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    insert into crm_migration.sign_off_history (operation, run_id, entity, row_key, verdict, note, signed_by, signed_at)
    select lower(tg_op), said.run_id, said.entity, said.row_key, said.verdict, said.note, said.signed_by, said.signed_at
    from (select (case when tg_op = 'DELETE' then old else new end).*) as said;
    return null;
end
$$;

create or replace trigger keep_sign_off
after insert or update or delete on crm_migration.sign_offs
for each row execute function crm_migration.keep_sign_off();
