-- An agreement is of two companies, ends after it starts, and only one of the same two is in force.
with

agreements as (
    select
        file,
        line,
        companies[1] as principal,
        companies[2] as distributor,
        cells ->> 'status' as status,
        cells ->> 'end_date' as end_date,
        btrim(cells ->> 'start_date', e' \t\r\n') as starts,
        btrim(cells ->> 'end_date', e' \t\r\n') as ends
    from mapping_lines
    where file = 'principal_distributor_agreements.csv'
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
