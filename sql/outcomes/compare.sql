-- How the outcomes of two runs differ: per entity and aspect how many rows moved, from what to what, and some of their keys.
with

-- the aspects of keep.sql, in its order
aspects (entity, place, name) as (
    values
    ('deals', 0, 'stage'),
    ('deals', 1, 'status'),
    ('deals', 2, 'probability'),
    ('deals', 3, 'closed on'),
    ('deals', 4, 'customer'),
    ('deals', 5, 'principal'),
    ('deals', 6, 'distributor'),
    ('deals', 7, 'commission'),
    ('contacts', 0, 'organizations'),
    ('contacts', 1, 'primary organization'),
    ('companies', 0, 'type'),
    ('companies', 1, 'is principal'),
    ('companies', 2, 'is distributor'),
    ('tasks', 0, 'activity'),
    ('tasks', 1, 'interaction'),
    ('tasks', 2, 'organization'),
    ('tasks', 3, 'follow-up'),
    ('relationships', 0, 'agreed'),
    ('relationships', 1, 'opportunities')
),

paired as (
    select
        coalesce(earlier.entity, later.entity) as entity,
        coalesce(earlier.key, later.key) as key,
        coalesce(earlier.other_key, later.other_key) as other_key,
        earlier.outcome as before,
        later.outcome as after
    from {earlier} as earlier
    full join {later} as later
        on earlier.entity = later.entity
        and earlier.key = later.key
        and coalesce(earlier.other_key, 0) = coalesce(later.other_key, 0)
    where earlier.outcome is distinct from later.outcome
),

moves as (
    select
        paired.entity,
        aspects.name as aspect,
        paired.before ->> aspects.place as before,
        paired.after ->> aspects.place as after,
        paired.key,
        paired.other_key
    from paired
    inner join aspects
        on aspects.entity = paired.entity
    where paired.before is not null
        and paired.after is not null
        and paired.before -> aspects.place is distinct from paired.after -> aspects.place

    union all

    -- only one of the runs made anything of it: rejected, left out, or not there at that time
    select
        paired.entity,
        case when paired.after is null then 'only before' else 'only now' end as aspect,
        null as before,
        null as after,
        paired.key,
        paired.other_key
    from paired
    where paired.before is null or paired.after is null
),

counted as (
    select
        moves.entity,
        moves.aspect,
        moves.before,
        moves.after,
        count(*) as rows,
        (array_agg(concat_ws('-', moves.key, moves.other_key) order by moves.key, moves.other_key))[1:5] as sample_keys
    from moves
    group by moves.entity, moves.aspect, moves.before, moves.after
),

ranked as (
    select
        counted.entity,
        counted.aspect,
        counted.before,
        counted.after,
        counted.rows,
        counted.sample_keys,
        sum(counted.rows) over (partition by counted.entity, counted.aspect)::bigint as aspect_rows,
        row_number() over (
            partition by counted.entity, counted.aspect
            order by counted.rows desc, counted.before, counted.after
        ) as place
    from counted
)

select
    ranked.entity,
    ranked.aspect,
    ranked.aspect_rows,
    ranked.before,
    ranked.after,
    ranked.rows,
    ranked.sample_keys
from ranked
where ranked.place <= {moves}
order by
    array_position(array['deals', 'contacts', 'companies', 'tasks', 'relationships'], ranked.entity),
    ranked.aspect_rows desc,
    ranked.aspect,
    ranked.place
