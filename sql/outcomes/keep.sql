-- What a build makes of each legacy row, in few bytes: one row per record, its aspects in the order of compare.sql. No index: it
-- is only ever joined whole.
create table {table} as
select
    'deals' as entity,
    opportunities.id as key,
    null::bigint as other_key,
    jsonb_build_array(
        opportunities.stage,
        opportunities.status,
        opportunities.probability,
        opportunities.actual_close_date,
        opportunities.customer_organization_id,
        opportunities.principal_organization_id,
        opportunities.distributor_organization_id,
        opportunities.commission_percent
    ) as outcome
from crm_build.opportunities

union all

select
    'contacts' as entity,
    contact_organizations.contact_id as key,
    null::bigint as other_key,
    jsonb_build_array(
        jsonb_agg(contact_organizations.organization_id order by contact_organizations.organization_id),
        min(contact_organizations.organization_id) filter (where contact_organizations.is_primary_organization)
    ) as outcome
from crm_build.contact_organizations
group by contact_organizations.contact_id

union all

select
    'companies' as entity,
    company_classifications.company_id as key,
    null::bigint as other_key,
    jsonb_build_array(
        company_classifications.organization_type,
        company_classifications.is_principal,
        company_classifications.is_distributor
    ) as outcome
from crm_build.company_classifications

union all

select
    'tasks' as entity,
    activities.legacy_task_id as key,
    null::bigint as other_key,
    jsonb_build_array(
        activities.activity_type,
        activities.interaction_type,
        activities.organization_id,
        activities.follow_up_date
    ) as outcome
from crm_build.activities
where activities.legacy_task_id is not null

union all

-- a pair may have had several agreements
select
    'relationships' as entity,
    relationships.principal_organization_id as key,
    relationships.distributor_organization_id as other_key,
    jsonb_build_array(
        jsonb_agg(
            jsonb_build_array(relationships.status, relationships.commission_percent, relationships.origin)
            order by relationships.id
        ),
        max(relationships.evidence)
    ) as outcome
from crm_build.principal_distributor_relationships as relationships
group by relationships.principal_organization_id, relationships.distributor_organization_id
