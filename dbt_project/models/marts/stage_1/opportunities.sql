with

deals as (
    select * from {{ ref('stg_legacy__deals') }}
    where {{ batch_filter('deal_id') }}
),

stages as (
    select * from {{ ref('int_deals__stages') }}
    where {{ batch_filter('deal_id') }}
),

organizations as (
    select * from {{ ref('int_deals__organizations') }}
    where {{ batch_filter('deal_id') }}
),

final as (
    select
        -- ids
        deals.deal_id as id,

        -- text
        deals.name,
        deals.description,
        deals.category,
        stages.stage::opportunity_stage as stage,
        deals.legacy_stage,
        stages.status::opportunity_status as status,
        'medium'::priority_level as priority,

        -- numbers
        stages.probability,
        deals.amount,

        -- times
        deals.expected_closing_date as estimated_close_date,
        stages.actual_close_date,

        -- organizations and people
        organizations.customer_organization_id,
        organizations.principal_organization_id,
        organizations.distributor_organization_id,
        deals.contact_ids,
        deals.sales_id,
        deals."index",

        -- commission; the amount is computed by the table
        organizations.commission_percent,

        -- what people enter from now on
        false as stage_manual,
        false as status_manual,
        null::text as next_action,
        null::date as next_action_date,
        null::text as competition,
        null::text as decision_criteria,
        null::jsonb as legacy_attributes,

        -- times
        deals.created_at,
        deals.updated_at,
        deals.archived_at,
        null::timestamptz as deleted_at
    from deals
    inner join stages
        on deals.deal_id = stages.deal_id
    inner join organizations
        on deals.deal_id = organizations.deal_id
)

select * from final
