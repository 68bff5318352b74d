-- The journal: which rows people changed since the cutover. Verification leaves them out, a rollback carries them over.
create table if not exists crm_migration.changes (
    id bigint generated always as identity primary key,
    table_name text not null,
    key text not null,
    operation text not null check (operation in ('insert', 'update', 'delete', 'truncate')),
    changed_at timestamptz not null default clock_timestamp(),
    role_name text not null
);
-- asked for first: "if not exists" waits for everybody who has written meanwhile, and whoever writes next waits for us
do $$
begin
    if to_regclass('crm_migration.changes_table_name_key_idx') is null then
        create index changes_table_name_key_idx on crm_migration.changes (table_name, key);
    end if;
end
$$;

-- Statement-level: one function call and one insert per statement, however many rows it touches.
-- The argument of the trigger is the table's own name, also where a setting renames it.
create or replace function crm_migration.journal_insert() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into crm_migration.changes (table_name, key, operation, role_name)
    select tg_argv[0], changed.id::text, 'insert', coalesce(nullif(current_setting('role', true), 'none'), session_user)
    from new_rows as changed;
    return null;
end
$$;

create or replace function crm_migration.journal_update() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- both keys: an update may change the key itself
    insert into crm_migration.changes (table_name, key, operation, role_name)
    select tg_argv[0], changed.id::text, 'update', coalesce(nullif(current_setting('role', true), 'none'), session_user)
    from (select id from old_rows union select id from new_rows) as changed;
    return null;
end
$$;

create or replace function crm_migration.journal_delete() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into crm_migration.changes (table_name, key, operation, role_name)
    select tg_argv[0], changed.id::text, 'delete', coalesce(nullif(current_setting('role', true), 'none'), session_user)
    from old_rows as changed;
    return null;
end
$$;

create or replace function crm_migration.journal_truncate() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- before the truncation, while the keys can still be read
    execute format(
        'insert into crm_migration.changes (table_name, key, operation, role_name)'
        ' select $1, id::text, ''truncate'', $2 from %s',
        tg_relid::regclass
    ) using tg_argv[0], coalesce(nullif(current_setting('role', true), 'none'), session_user);
    return null;
end
$$;

-- Functions of a trigger run with the rights of whoever owns them, not of who writes: nobody needs to call them.
revoke all on function
    crm_migration.journal_insert(), crm_migration.journal_update(),
    crm_migration.journal_delete(), crm_migration.journal_truncate()
from public;

create or replace function crm_migration.start_journal(target regclass, logical_name text) returns void
language plpgsql
set search_path = ''
as $$
begin
    execute format(
        'create trigger crm_migrate_journal_insert after insert on %s referencing new table as new_rows '
        'for each statement execute function crm_migration.journal_insert(%L)',
        target, logical_name
    );
    execute format(
        'create trigger crm_migrate_journal_update after update on %s '
        'referencing old table as old_rows new table as new_rows '
        'for each statement execute function crm_migration.journal_update(%L)',
        target, logical_name
    );
    execute format(
        'create trigger crm_migrate_journal_delete after delete on %s referencing old table as old_rows '
        'for each statement execute function crm_migration.journal_delete(%L)',
        target, logical_name
    );
    execute format(
        'create trigger crm_migrate_journal_truncate before truncate on %s '
        'for each statement execute function crm_migration.journal_truncate(%L)',
        target, logical_name
    );
end
$$;
