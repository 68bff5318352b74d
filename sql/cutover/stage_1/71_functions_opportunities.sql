-- What the application calls about opportunities. Run as the caller, so row level security applies.

create function public.get_opportunity_with_participants(opportunity_id bigint) returns jsonb
language sql
stable
set search_path = ''
as $$
    select to_jsonb(opportunities) || jsonb_build_object(
        'participants',
        coalesce(
            (
                select jsonb_agg(
                    to_jsonb(participant) || jsonb_build_object(
                        'organization_name', companies.name,
                        'organization_type', companies.organization_type
                    )
                    order by participant.role, participant.is_primary desc, participant.id
                )
                from public.opportunity_participants as participant
                left join public.companies on companies.id = participant.organization_id
                where participant.opportunity_id = opportunities.id and participant.deleted_at is null
            ),
            '[]'
        )
    )
    from public.opportunities
    where opportunities.id = get_opportunity_with_participants.opportunity_id and opportunities.deleted_at is null
$$;
comment on function public.get_opportunity_with_participants(bigint)
is 'One opportunity with its live participants as an array; null when there is none.';

create function public.sync_opportunity_participants(opportunity_id bigint, participants jsonb)
returns setof public.opportunity_participants
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    opportunity alias for sync_opportunity_participants.opportunity_id;
begin
    if jsonb_typeof(participants) is distinct from 'array' then
        raise exception 'participants must be an array of objects.' using errcode = 'invalid_parameter_value';
    end if;
    if exists (
        select from jsonb_array_elements(participants) as entry
        where jsonb_typeof(entry) <> 'object' or entry ->> 'organization_id' is null or entry ->> 'role' is null
    ) then
        raise exception 'Each participant needs organization_id and role.' using errcode = 'invalid_parameter_value';
    end if;
    if not exists (select from public.opportunities where opportunities.id = opportunity and opportunities.deleted_at is null) then
        raise exception 'There is no opportunity %.', opportunity using errcode = 'no_data_found';
    end if;

    -- first who leaves and who steps back, then who comes: there is never a second primary in between
    update public.opportunity_participants as present
    set deleted_at = now()
    where present.opportunity_id = opportunity
        and present.deleted_at is null
        and not exists (
            select from jsonb_array_elements(participants) as entry
            where (entry ->> 'organization_id')::bigint = present.organization_id
                and (entry ->> 'role')::public.participant_role = present.role
        );
    update public.opportunity_participants as present
    set is_primary = false
    from jsonb_array_elements(participants) as entry
    where present.opportunity_id = opportunity
        and present.deleted_at is null
        and present.is_primary
        and present.role <> 'customer'
        and (entry ->> 'organization_id')::bigint = present.organization_id
        and (entry ->> 'role')::public.participant_role = present.role
        and not coalesce((entry ->> 'is_primary')::boolean, false);
    insert into public.opportunity_participants (
        opportunity_id, organization_id, role, is_primary, commission_percent, territory, notes
    )
    select
        opportunity,
        (entry.value ->> 'organization_id')::bigint,
        (entry.value ->> 'role')::public.participant_role,
        coalesce((entry.value ->> 'is_primary')::boolean, false) or entry.value ->> 'role' = 'customer',
        (entry.value ->> 'commission_percent')::numeric,
        entry.value ->> 'territory',
        entry.value ->> 'notes'
    from jsonb_array_elements(participants) with ordinality as entry (value, position)
    order by entry.position
    on conflict (opportunity_id, organization_id, role) where deleted_at is null do update
    set
        is_primary = excluded.is_primary,
        commission_percent = excluded.commission_percent,
        territory = excluded.territory,
        notes = excluded.notes;

    return query
    select present.*
    from public.opportunity_participants as present
    where present.opportunity_id = opportunity and present.deleted_at is null
    order by present.role, present.is_primary desc, present.id;
end
$$;
comment on function public.sync_opportunity_participants(bigint, jsonb)
is 'Makes the live participants exactly these: [{organization_id, role, is_primary, commission_percent, territory, notes}].';

create function public.create_opportunity_with_participants(opportunity jsonb, participants jsonb default '[]') returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    columns text;
    unknown text;
    created bigint;
begin
    select
        string_agg(quote_ident(given.name), ', ') filter (where pg_attribute.attname is not null),
        string_agg(given.name, ', ') filter (where pg_attribute.attname is null)
    into columns, unknown
    from jsonb_object_keys(opportunity) as given (name)
    left join pg_catalog.pg_attribute
        on pg_attribute.attrelid = 'public.opportunities'::regclass
        and pg_attribute.attname = given.name
        and pg_attribute.attnum > 0
        and pg_attribute.attgenerated = ''
        and not pg_attribute.attisdropped;
    if unknown is not null then
        raise exception 'An opportunity has no column that can be written called %.', unknown using errcode = 'undefined_column';
    end if;
    if columns is null then
        raise exception 'An opportunity needs a name.' using errcode = 'invalid_parameter_value';
    end if;
    execute format(
        'insert into public.opportunities (%1$s) select %1$s from jsonb_populate_record(null::public.opportunities, $1) returning id',
        columns
    ) using opportunity into created;
    if jsonb_array_length(coalesce(participants, '[]')) > 0 then
        -- those that the columns of the opportunity name stay
        perform public.sync_opportunity_participants(
            created,
            participants || coalesce(
                (
                    select jsonb_agg(
                        jsonb_build_object('organization_id', present.organization_id, 'role', present.role, 'is_primary', true)
                    )
                    from public.opportunity_participants as present
                    where present.opportunity_id = created
                        and present.deleted_at is null
                        and not exists (
                            select from jsonb_array_elements(participants) as entry
                            where entry ->> 'role' = present.role::text
                                and (
                                    (entry ->> 'organization_id')::bigint = present.organization_id
                                    or present.role = 'customer'
                                    or coalesce((entry ->> 'is_primary')::boolean, false)
                                )
                        )
                ),
                '[]'
            )
        );
    end if;
    return public.get_opportunity_with_participants(created);
end
$$;
comment on function public.create_opportunity_with_participants(jsonb, jsonb)
is 'Creates an opportunity from its columns, with participants as in sync_opportunity_participants; returns both.';

select crm_compat.grant_call('public.get_opportunity_with_participants(bigint)');
select crm_compat.grant_call('public.sync_opportunity_participants(bigint, jsonb)');
select crm_compat.grant_call('public.create_opportunity_with_participants(jsonb, jsonb)');
