-- Who is a principal or a distributor by another file needs that role.
with

needed as (
    select
        file,
        line,
        named,
        value,
        company,
        case place when 1 then 'principal' else 'distributor' end as role
    from mapping_references
    where file in ('category_principals.csv', 'principal_distributor_agreements.csv')
        and company is not null
),

given as (
    select distinct
        mapping_references.company,
        mapping_lines.cells ->> 'role' as role
    from mapping_references
    inner join mapping_lines
        on mapping_references.file = mapping_lines.file
            and mapping_references.line = mapping_lines.line
    where mapping_references.file = 'company_roles.csv'
)

select
    'missing_role' as rule,
    needed.file,
    needed.line,
    needed.named,
    needed.value,
    needed.company,
    needed.role as other_role
from needed
left join given
    on needed.company = given.company
        and needed.role = given.role
where given.company is null
