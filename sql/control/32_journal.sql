-- The journal: which rows people changed since the cutover, and what they were before the first change. Verification leaves them
-- out, a rollback carries them over, and a later migration puts back what people made different.
create table if not exists crm_migration.changes (
    id bigint generated always as identity primary key,
    table_name text not null,
    key text not null,
    operation text not null check (operation in ('insert', 'update', 'delete', 'truncate')),
    changed_at timestamptz not null default clock_timestamp(),
    role_name text not null,
    before jsonb
);
comment on column crm_migration.changes.before is 'The row as the cutover left it; with the first change of that row only.';
-- asked for first: "if not exists" waits for everybody who has written meanwhile, and whoever writes next waits for us
do $$
begin
    if to_regclass('crm_migration.changes_table_name_key_idx') is null then
        create index changes_table_name_key_idx on crm_migration.changes (table_name, key);
    end if;
end
$$;

-- Whether this is the first change of a row.
create or replace function crm_migration.is_unchanged(logical_name text, row_key text) returns boolean
language sql
stable
set search_path = ''
as $$
    select not exists (
        select from crm_migration.changes where changes.table_name = logical_name and changes.key = row_key
    )
$$;

-- A row as a document; as its text where a json column holds what jsonb cannot, such as the escape of a zero byte.
create or replace function crm_migration.document_of(whole record) returns jsonb
language plpgsql
stable
set search_path = ''
as $$
begin
    return to_jsonb(whole);
exception
    when data_exception then
        return jsonb_build_object('row', whole::text);
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
set timezone = 'UTC'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
as $$
declare
    carefully boolean := false;
begin
    loop
        begin
            -- both keys: an update may change the key itself
            insert into crm_migration.changes (table_name, key, operation, role_name, before)
            select
                tg_argv[0], changed.id::text, 'update',
                coalesce(nullif(current_setting('role', true), 'none'), session_user),
                case
                    when not crm_migration.is_unchanged(tg_argv[0], changed.id::text) or old_row.id is null then null
                    when carefully then crm_migration.document_of(old_row.*)
                    else to_jsonb(old_row.*)
                end
            from (select id from old_rows union select id from new_rows) as changed
            left join old_rows as old_row on old_row.id = changed.id;
            return null;
        exception
            when data_exception then
                -- nobody's write is refused for what the journal cannot hold
                if carefully then
                    raise;
                end if;
                carefully := true;
        end;
    end loop;
end
$$;

create or replace function crm_migration.journal_delete() returns trigger
language plpgsql
security definer
set search_path = ''
set timezone = 'UTC'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
as $$
declare
    carefully boolean := false;
begin
    loop
        begin
            insert into crm_migration.changes (table_name, key, operation, role_name, before)
            select
                tg_argv[0], old_row.id::text, 'delete',
                coalesce(nullif(current_setting('role', true), 'none'), session_user),
                case
                    when not crm_migration.is_unchanged(tg_argv[0], old_row.id::text) then null
                    when carefully then crm_migration.document_of(old_row.*)
                    else to_jsonb(old_row.*)
                end
            from old_rows as old_row;
            return null;
        exception
            when data_exception then
                if carefully then
                    raise;
                end if;
                carefully := true;
        end;
    end loop;
end
$$;

create or replace function crm_migration.journal_truncate() returns trigger
language plpgsql
security definer
set search_path = ''
set timezone = 'UTC'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
as $$
begin
    -- before the truncation, while the keys can still be read
    execute format(
        'insert into crm_migration.changes (table_name, key, operation, role_name, before)'
        ' select $1, id::text, ''truncate'', $2,'
        ' case when crm_migration.is_unchanged($1, id::text) then crm_migration.document_of(truncated.*) end from %s as truncated',
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
