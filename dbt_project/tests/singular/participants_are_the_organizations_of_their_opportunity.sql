-- both ways, and with multiplicity
with

expected as (
    select
        opportunities.id as opportunity_id,
        party.organization_id,
        party.role
    from {{ ref('opportunities') }} as opportunities
    cross join lateral (
        values
        (opportunities.customer_organization_id, 'customer'),
        (opportunities.principal_organization_id, 'principal'),
        (opportunities.distributor_organization_id, 'distributor')
    ) as party (organization_id, role)
    where party.organization_id is not null
),

actual as (
    select
        opportunity_id,
        organization_id,
        role::text as role
    from {{ ref('opportunity_participants') }}
),

missing as (
    select * from expected
    except all
    select * from actual
),

additional as (
    select * from actual
    except all
    select * from expected
)

select * from missing
union all
select * from additional
