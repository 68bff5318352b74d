-- Who is a principal or a distributor by another file needs that role.
with

sides (file, place, role, columns) as (
    values
    ('category_principals.csv', 1, 'principal', array['principal_company_id', 'principal_name']),
    ('principal_distributor_agreements.csv', 1, 'principal', array['principal_company_id', 'principal_name']),
    ('principal_distributor_agreements.csv', 2, 'distributor', array['distributor_company_id', 'distributor_name'])
)

select
    'missing_role' as rule,
    named_by.file,
    named_by.line,
    naming.name as named,
    named_by.cells ->> naming.name as value,
    named_by.companies[sides.place] as company,
    sides.role as other_role
from mapping_lines as named_by
inner join sides
    on named_by.file = sides.file
cross join lateral (
    select entry.name
    from unnest(sides.columns) with ordinality as entry (name, place)
    where named_by.cells ->> entry.name != ''
    order by entry.place
    limit 1
) as naming
left join mapping_lines as roles
    on roles.file = 'company_roles.csv'
        and named_by.companies[sides.place] = roles.companies[1]
        and sides.role = roles.cells ->> 'role'
where named_by.companies[sides.place] is not null
    and roles.line is null
