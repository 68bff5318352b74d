-- both ways: each contact's company is its primary link, and no other link of such a contact is
with

expected as (
    select
        contact_id,
        company_id
    from {{ ref('stg_legacy__contacts') }}
    where company_id is not null
),

actual as (
    select
        contact_organizations.contact_id,
        contact_organizations.organization_id
    from {{ ref('contact_organizations') }} as contact_organizations
    inner join expected
        on contact_organizations.contact_id = expected.contact_id
    where contact_organizations.is_primary_organization
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
