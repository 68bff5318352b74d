-- both ways, and with multiplicity: what is expected counts up, what is there counts down
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

counted as (
    select
        opportunity_id,
        organization_id,
        role,
        1 as difference
    from expected

    union all

    select
        opportunity_id,
        organization_id,
        role::text as role,
        -1 as difference
    from {{ ref('opportunity_participants') }}
)

select
    opportunity_id,
    organization_id,
    role,
    sum(difference) as difference
from counted
group by opportunity_id, organization_id, role
having sum(difference) <> 0
