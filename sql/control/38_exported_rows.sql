-- What people did with the new tables and the legacy shape cannot hold: written in the rollback's transaction, put back by the
-- next migration. The file beside it is for people; this copy does not depend on the operator's machine.
create table if not exists crm_migration.exported_rows (
    id bigint generated always as identity primary key,
    run_id text not null,
    table_name text not null,
    key text not null,
    kind text not null check (kind in ('inserted', 'changed', 'deleted', 'object', 'orphaned')),
    content jsonb,
    before jsonb,
    state text not null check (state in ('waiting', 'put back', 'in part', 'does not fit', 'kept')),
    reason text not null default '',
    put_back_by text,
    new_key text
);
create index if not exists exported_rows_table_name_key_idx on crm_migration.exported_rows (table_name, key);
comment on column crm_migration.exported_rows.run_id is 'The migration that was rolled back.';
comment on column crm_migration.exported_rows.content is 'The row as people left it; null for one that they deleted. Of a table that was changed in place only the added columns.';
comment on column crm_migration.exported_rows.before is 'The row as the migration had made it; null for one that people made.';
comment on column crm_migration.exported_rows.new_key is 'The key that the row has after it was put back, where its own was taken.';

-- Columns of opportunities that the legacy deals hold: what they say comes from there.
create or replace function crm_migration.columns_held_by_deals(opportunities regclass) returns text[]
language sql
stable
set search_path = ''
as $$
    select array_agg(mine.attname::text)
    from pg_catalog.pg_attribute as mine
    left join (
        values
        ('customer_organization_id', 'company_id'),
        ('estimated_close_date', 'expected_closing_date'),
        ('legacy_stage', 'stage')
    ) as renamed (name, legacy_name) on renamed.name = mine.attname
    where mine.attrelid = opportunities
        and mine.attnum > 0
        and not mine.attisdropped
        and (
            mine.attname = 'legacy_attributes'
            or mine.attgenerated <> ''
            or (
                -- they mean something else than a column of the installation that has the same name
                mine.attname <> all(
                    array['priority', 'status', 'stage', 'probability', 'actual_close_date', 'principal_organization_id',
                    'distributor_organization_id', 'commission_percent', 'stage_manual', 'status_manual', 'deleted_at']
                )
                and exists (
                    select from pg_catalog.pg_attribute as legacy
                    where legacy.attrelid = to_regclass('crm_archive.deals')
                        and legacy.attnum > 0
                        and not legacy.attisdropped
                        and legacy.attname = coalesce(renamed.legacy_name, mine.attname)
                        and (renamed.name is not null or legacy.atttypid = mine.atttypid)
                )
            )
        )
$$;

-- The members of a row that differ from the row before, or all when there was none; never those that are left out.
create or replace function crm_migration.made_different(content jsonb, before jsonb, left_out text[]) returns jsonb
language sql
immutable
set search_path = ''
as $$
    select coalesce(jsonb_object_agg(members.key, members.value), '{}')
    from jsonb_each(content) as members
    where members.key <> all(left_out)
        and (before is null or not before ? members.key or members.value is distinct from before -> members.key)
$$;

-- Writes down what people did to one table and its legacy form cannot hold. `shown`: the columns that are kept, null for all;
-- `held`: a condition that says when the legacy form holds a row; `left_out`: columns that it holds in any case.
create or replace function crm_migration.export_rows(
    run text, logical_name text, target regclass, shown text[], held text, left_out text[], into_state text
)
returns void
language plpgsql
set search_path = ''
set timezone = 'UTC'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
as $$
begin
    execute format(
        $query$
        with first_change as (
            select distinct on (key) key, operation, before
            from crm_migration.changes
            where table_name = $2
            order by key, id
        ),
        kept as (
            select
                first_change.key,
                case when first_change.operation = 'insert' then 'inserted' else 'changed' end as kind,
                case when $3::text[] is null then crm_migration.document_of(changed.*) else %1$s end as content,
                first_change.before
            from %2$s as changed
            inner join first_change on first_change.key = changed.id::text
            where not (%3$s)
            union all
            -- made and deleted again: nothing is left to tell
            select first_change.key, 'deleted', null, first_change.before
            from first_change
            where first_change.operation <> 'insert'
                and not exists (select from %2$s as present where present.id::text = first_change.key)
        )
        insert into crm_migration.exported_rows (run_id, table_name, key, kind, content, before, state)
        select $1, $2, kept.key, kept.kind, kept.content, kept.before, $5
        from kept
        where kept.content is null
            or kept.before is null
            or crm_migration.made_different(kept.content, kept.before, $4) <> '{}'
        order by length(kept.key), kept.key
        $query$,
        coalesce(
            'jsonb_build_object(' || (
                select string_agg(format('%L, changed.%I', name, name), ', ') from unnest('id'::text || shown) as name
            ) || ')',
            'null'
        ),
        target,
        held
    ) using run, logical_name, shown, left_out, into_state;
end
$$;

-- Puts one row back: where the migration made it again, only what people made different; otherwise whole.
create or replace function crm_migration.put_back_row(
    line crm_migration.exported_rows, target regclass, natural_key text[], stable boolean, left_out text[],
    out state text, out reason text, out new_key text
)
language plpgsql
set search_path = ''
as $$
declare
    content jsonb := line.content;
    wanted jsonb;
    written text[];
    absent text[];
    probe jsonb;
    listed text;
    taken boolean;
begin
    state := 'put back';
    reason := '';
    -- where a row is found again: by its key, or by what it joins, as it was before and as it became
    if stable then
        execute format('select id::text from %s where id = $1::bigint', target) into new_key using line.key;
    else
        foreach probe in array array[line.before, content] loop
            if new_key is null and probe is not null and natural_key <> '{}' and probe ->> 'deleted_at' is null
                and not exists (select from unnest(natural_key) as part where probe ->> part is null)
            then
                execute format(
                    'select present.id::text from %1$s as present, jsonb_populate_record(null::%1$s, $1) as probe'
                    ' where present.deleted_at is null and %2$s order by present.id limit 1', target,
                    (select string_agg(format('present.%1$I = probe.%1$I', part), ' and ') from unnest(natural_key) as part)
                ) into new_key using probe;
            end if;
        end loop;
    end if;

    if content is null then
        if new_key is not null and not stable then
            execute format('delete from %s where id = $1::bigint', target) using new_key;
        end if;
        return;
    end if;
    if new_key is null and content ->> 'deleted_at' is not null and (stable or line.before is not null) then
        -- deleted by people, and not made again
        return;
    end if;
    if new_key is null and stable then
        state := 'does not fit';
        reason := format('%s %s is not there any more.', line.table_name, line.key);
        return;
    end if;
    if new_key is null and line.table_name = 'opportunity_participants' and content ->> 'role' = 'customer' then
        state := 'does not fit';
        reason := format('Opportunity %s has another customer since.', content ->> 'opportunity_id');
        return;
    end if;

    wanted := case
        when new_key is null then content
        else crm_migration.made_different(content, line.before, left_out || 'id'::text)
    end;
    select
        array_agg(member) filter (where mine.attname is not null and mine.attgenerated = ''),
        array_agg(member) filter (where mine.attname is null and wanted -> member <> 'null')
    into written, absent
    from jsonb_object_keys(wanted) as member
    left join pg_catalog.pg_attribute as mine
        on mine.attrelid = target and mine.attname = member and mine.attnum > 0 and not mine.attisdropped;
    if absent is not null then
        state := 'in part';
        reason := format('Columns that are not there any more: %s.', array_to_string(absent, ', '));
    end if;

    if new_key is null then
        execute format('select exists (select from %s where id = $1::bigint)', target) into taken using line.key;
        if taken then
            -- its number belongs to another row now
            written := array_remove(written, 'id');
        end if;
        select string_agg(quote_ident(name), ', ') into listed from unnest(written) as name;
        execute format(
            'insert into %1$s (%2$s) overriding system value select %2$s from jsonb_populate_record(null::%1$s, $1)'
            ' returning id::text', target, listed
        ) into new_key using wanted;
        perform setval(own, greatest(pg_sequence_last_value(own), new_key::bigint))
        from cast(pg_get_serial_sequence(target::text, 'id') as regclass) as own
        where own is not null;
    elsif written is not null then
        select string_agg(format('%1$I = said.%1$I', name), ', ') into listed from unnest(written) as name;
        execute format(
            'update %1$s as present set %2$s from jsonb_populate_record(null::%1$s, $1) as said where present.id = $2::bigint',
            target, listed
        ) using wanted, new_key;
    end if;
end
$$;

-- Puts back what is waiting of one table. A row that no longer fits is kept with the reason.
create or replace function crm_migration.put_back_rows(
    run text, logical_name text, target regclass, natural_key text[], stable boolean, left_out text[]
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    line crm_migration.exported_rows;
    outcome text;
    why text;
    key_now text;
    detail text;
    also_left_out text[];
begin
    for line in
        select * from crm_migration.exported_rows
        where table_name = logical_name
            and kind in ('inserted', 'changed', 'deleted')
            and state in ('waiting', 'does not fit')
        order by id
    loop
        begin
            also_left_out := crm_migration.said_by_legacy(line, target);
            line.content := crm_migration.as_of_today(run, line);
            select back.state, back.reason, back.new_key into outcome, why, key_now
            from crm_migration.put_back_row(line, target, natural_key, stable, left_out || also_left_out) as back;
        exception
            when integrity_constraint_violation or data_exception or raise_exception then
                get stacked diagnostics detail = pg_exception_detail;
                outcome := 'does not fit';
                why := concat_ws(' ', rtrim(sqlerrm, '.') || '.', nullif(detail, ''));
                key_now := null;
        end;
        update crm_migration.exported_rows
        set
            state = outcome,
            reason = why,
            put_back_by = run,
            new_key = nullif(key_now, line.key)
        where exported_rows.id = line.id;
    end loop;
end
$$;

-- Columns that follow from what the legacy tables say by now, for this row.
create or replace function crm_migration.said_by_legacy(line crm_migration.exported_rows, target regclass) returns text[]
language plpgsql
set search_path = ''
as $$
declare
    same_word boolean;
begin
    if line.table_name = 'opportunities' then
        execute format('select legacy_stage is not distinct from $1 from %s where id = $2::bigint', target)
        into same_word using line.content ->> 'legacy_stage', line.key;
        -- somebody has moved it since, on the old board
        return case when same_word then '{}' else array['stage', 'status', 'probability', 'actual_close_date'] end;
    elsif line.table_name = 'activities' and line.content ->> 'legacy_task_id' is not null then
        return array[
            'description', 'activity_date', 'follow_up_required', 'follow_up_date', 'contact_id', 'sales_id', 'created_at'
        ];
    end if;
    return '{}';
end
$$;

-- The row with the keys of today in it, and primary only where the legacy tables say so.
create or replace function crm_migration.as_of_today(run text, line crm_migration.exported_rows) returns jsonb
language sql
stable
set search_path = ''
as $$
    select line.content
        || case
            when line.content ? 'is_primary_organization' and line.content ->> 'deleted_at' is null
                then jsonb_build_object(
                    'is_primary_organization', exists (
                        select from public.contacts
                        where contacts.id = (line.content ->> 'contact_id')::bigint
                            and contacts.company_id = (line.content ->> 'organization_id')::bigint
                    )
                )
            else '{}'
        end
        || coalesce(
            (
                select jsonb_object_agg(parent.referring, moved.new_key::bigint)
                from (values ('activity_id', 'activities'), ('product_id', 'products')) as parent (referring, name)
                inner join crm_migration.exported_rows as moved
                    on moved.table_name = parent.name
                    and moved.key = line.content ->> parent.referring
                    and moved.run_id = line.run_id
                    and moved.put_back_by = run
                    and moved.new_key is not null
            ),
            '{}'
        )
$$;
