-- An agreement is of two companies, ends after it starts, and only one of the same two is in force.
with

agreements as (
    select
        mapping_lines.file,
        mapping_lines.line,
        principals.company as principal,
        distributors.company as distributor,
        mapping_lines.cells ->> 'status' as status,
        mapping_lines.cells ->> 'end_date' as end_date,
        btrim(mapping_lines.cells ->> 'start_date', e' \t\r\n') as starts,
        btrim(mapping_lines.cells ->> 'end_date', e' \t\r\n') as ends
    from mapping_lines
    left join mapping_references as principals
        on mapping_lines.file = principals.file
            and mapping_lines.line = principals.line
            and principals.place = 1
    left join mapping_references as distributors
        on mapping_lines.file = distributors.file
            and mapping_lines.line = distributors.line
            and distributors.place = 2
    where mapping_lines.file = 'principal_distributor_agreements.csv'
),

in_force as (
    select
        file,
        line,
        status,
        min(line) over (partition by principal, distributor) as other
    from agreements
    where status = 'active'
        and principal != distributor
)

-- dates of this form sort like the days that they name
select
    'ends_early' as rule,
    file,
    line,
    'end_date' as named,
    end_date as value,
    null::bigint as company,
    null::bigint as other
from agreements
where starts != ''
    and ends != ''
    and ends collate "C" < starts collate "C"

union all

select
    'same_company' as rule,
    file,
    line,
    null as named,
    null as value,
    principal as company,
    null::bigint as other
from agreements
where principal = distributor

union all

select
    'agreement_twice' as rule,
    file,
    line,
    'status' as named,
    status as value,
    null::bigint as company,
    other
from in_force
where line > other
