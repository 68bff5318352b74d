-- Exact comparison of two sets of rows by their key `id`. Rows are compared as they are stored (`*<>`): json has no equality
-- operator, and citext would call ABC and abc equal. Both queries give the same columns in the same order.
create or replace function crm_migration.differing_rows(before_query text, after_query text)
returns table (row_key text, difference text)
language plpgsql
stable
set search_path = ''
as $$
begin
    return query execute format(
        $query$
        select
            coalesce(before_row.id, after_row.id)::text,
            case
                when after_row.id is null then 'missing'
                when before_row.id is null then 'additional'
                else 'different'
            end
        from (%s) as before_row
        full join (%s) as after_row on before_row.id = after_row.id
        where before_row.id is null or after_row.id is null or (before_row.*) *<> (after_row.*)
        $query$,
        before_query, after_query
    );
end
$$;

-- The query that rebuilds the legacy shape of the deals from the opportunities that were built.
create or replace function crm_migration.rebuilt_deals_query() returns text
language sql
stable
set search_path = ''
as $$
    with renamed (legacy_name, name) as (
        values
            ('company_id', 'customer_organization_id'),
            ('expected_closing_date', 'estimated_close_date'),
            ('stage', 'legacy_stage')
    ),
    -- columns of opportunities that mean something else than an installation's column of the same name
    own (name) as (
        values
            ('priority'), ('status'), ('probability'), ('legacy_stage'), ('estimated_close_date'), ('actual_close_date'),
            ('customer_organization_id'), ('principal_organization_id'), ('distributor_organization_id'),
            ('commission_percent'), ('commission_amount'), ('stage_manual'), ('status_manual'), ('legacy_attributes'),
            ('deleted_at')
    ),
    legacy as (
        select attname::text as name, attnum as position, format_type(atttypid, atttypmod) as type
        from pg_catalog.pg_attribute
        where attrelid = to_regclass('public.deals') and attnum > 0 and not attisdropped
    ),
    built as (
        select attname::text as name, format_type(atttypid, atttypmod) as type
        from pg_catalog.pg_attribute
        where attrelid = to_regclass('crm_build.opportunities') and attnum > 0 and not attisdropped
    )
    select
        'select '
        || string_agg(
            case
                when renamed.name is not null then format('%I', renamed.name)
                when own.name is null and built.type = legacy.type then format('%I', legacy.name)
                else format('(legacy_attributes ->> %L)::%s', legacy.name, legacy.type)
            end || format(' as %I', legacy.name),
            ', ' order by legacy.position
        )
        || ' from crm_build.opportunities'
    from legacy
    left join renamed on renamed.legacy_name = legacy.name
    left join own on own.name = legacy.name
    left join built on built.name = legacy.name
$$;

-- Deals that the opportunities that were built do not give back exactly; those that were rejected are told elsewhere.
create or replace function crm_migration.deals_round_trip() returns table (row_key text, difference text)
language sql
stable
set search_path = ''
as $$
    select differing.row_key, differing.difference
    from crm_migration.differing_rows('select * from public.deals', crm_migration.rebuilt_deals_query()) as differing
    where not exists (
        select
        from crm_migration.rejected_records
        inner join crm_migration.builds on builds.run_id = rejected_records.run_id and builds.schema_name = 'crm_build'
        where rejected_records.model = 'opportunities' and rejected_records.key_value::text = differing.row_key
    )
$$;
comment on function crm_migration.deals_round_trip() is
    'Deals that the built opportunities do not give back exactly: missing, additional or different. None before a cutover.';
