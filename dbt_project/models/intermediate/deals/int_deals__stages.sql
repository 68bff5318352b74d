with

deals as (
    select * from {{ ref('stg_legacy__deals') }}
),

mapping as (
    select * from {{ ref('stage_mapping') }}
),

-- people write mappings by hand: compare them as the stages of the deals are compared
mapped_stages as (
    select
        coalesce(lower(btrim(legacy_stage)), '') as stage_key,
        stage,
        status,
        probability
    from mapping
),

-- where a deal with an unknown stage goes; the mapping says how likely deals there are to be won
fallback as (
    select
        '{{ var("fallback_stage") }}' as stage,
        coalesce(min(mapping.probability), {{ var("fallback_probability") }}) as probability
    from mapping
    where mapping.stage = '{{ var("fallback_stage") }}'
),

final as (
    select
        -- ids
        deals.deal_id,

        -- text
        deals.legacy_stage,
        coalesce(mapped_stages.stage, fallback.stage) as stage,
        coalesce(mapped_stages.status, 'active') as status,

        -- numbers
        coalesce(mapped_stages.probability, fallback.probability)::smallint as probability,

        -- flags
        mapped_stages.stage is null as is_unmapped,

        -- times; not the day of the migration: a closed deal was last touched when it closed
        case
            when coalesce(mapped_stages.stage, fallback.stage) in ('closed_won', 'closed_lost')
                then (deals.updated_at at time zone 'UTC')::date
        end as actual_close_date
    from deals
    left join mapped_stages
        on deals.stage_key = mapped_stages.stage_key
    cross join fallback
)

select * from final
