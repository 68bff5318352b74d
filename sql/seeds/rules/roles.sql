-- A company has each role once. Principal and distributor go together; any other role stands alone. The first line is held to be right.
with

roles as (
    select
        file,
        line,
        companies[1] as company,
        cells ->> 'role' as role,
        cells ->> 'role' in ('principal', 'distributor') as is_side
    from mapping_lines
    where file = 'company_roles.csv'
        and companies[1] is not null
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
        is_side and first_value(is_side) over of_company as go_together
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
cross join lateral (select go_together or role = first_role as goes) as told
where line > same_line
    or not goes
