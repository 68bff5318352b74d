{%- set configuration = source('legacy', 'configuration') -%}
with

{% if legacy_has('configuration', 'config') -%}
configurations as (
    select * from {{ configuration }}
),

-- an installation may keep its stages in the front end's code instead: an empty configuration proves nothing
stages as (
    select stage.entry
    from configurations
    cross join lateral jsonb_array_elements(
        case
            when jsonb_typeof(configurations.config -> 'dealStages') = 'array' then configurations.config -> 'dealStages'
            else '[]'
        end
    ) as stage (entry)
),
{%- else -%}
-- the older generation has no configuration
stages as (
    select null::jsonb as entry
    where false
),
{%- endif %}

final as (
    select distinct on (lower(btrim(entry ->> 'value')))
        lower(btrim(entry ->> 'value')) as stage_key,
        entry ->> 'label' as label
    from stages
    where entry ->> 'value' is not null
    order by lower(btrim(entry ->> 'value')), entry ->> 'label'
)

select * from final
