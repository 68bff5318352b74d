-- A company has each role once. Principal and distributor go together; any other role stands alone. The first line is held to be right.
with

roles as (
    select
        mapping_references.file,
        mapping_references.line,
        mapping_references.company,
        mapping_lines.cells ->> 'role' as role,
        mapping_lines.cells ->> 'role' in ('principal', 'distributor') as is_side
    from mapping_references
    inner join mapping_lines
        on mapping_references.file = mapping_lines.file
            and mapping_references.line = mapping_lines.line
    where mapping_references.file = 'company_roles.csv'
        and mapping_references.company is not null
),

compared as (
    select
        file,
        line,
        company,
        role,
        first_value(line) over of_company as first_line,
        first_value(role) over of_company as first_role,
        min(line) over (partition by company, role) as same_line,
        role = first_value(role) over of_company
        or (is_side and first_value(is_side) over of_company) as goes
    from roles
    window of_company as (partition by company order by line)
)

select
    case when goes then 'role_twice' else 'roles_conflict' end as rule,
    file,
    line,
    'role' as named,
    role as value,
    company,
    case when goes then same_line else first_line end as other,
    first_role as other_role
from compared
where line > same_line
    or not goes
