-- Which companies references name: by id, by exact name or by the host of their website. A host is made like the dbt macro
-- website_domain makes it.
with

wanted as (
    {wanted}
),

websites as (
    select
        position,
        null::bigint as company_id,
        value as website
    from wanted
    where kind = 'domain'

    union all

    -- all companies' websites are read only where an entry asks for one
    select
        null::bigint as position,
        id as company_id,
        website::text as website
    from {companies} as companies
    where (select exists (select from wanted where kind = 'domain'))
),

hosts as (
    select
        position,
        company_id,
        nullif(
            regexp_replace(
                regexp_replace(
                    regexp_replace(lower(btrim(website, e' \t\r\n')), '^([a-z][a-z0-9+.-]*:)?//', ''),
                    '[/?#].*$', ''
                ),
                '^([^@]*@)?(www\.)?|[.]?(:[0-9]*)?$', '', 'g'
            ),
            ''
        ) as host
    from websites
),

found as (
    select
        wanted.position,
        companies.id
    from wanted
    inner join {companies} as companies
        on companies.id = case when wanted.kind = 'id' then wanted.value::bigint end

    union all

    select
        wanted.position,
        companies.id
    from wanted
    inner join {companies} as companies
        on wanted.value = companies.name
    where wanted.kind = 'name'

    union all

    select
        wanted_hosts.position,
        company_hosts.company_id
    from hosts as wanted_hosts
    inner join hosts as company_hosts
        on wanted_hosts.host = company_hosts.host
    where wanted_hosts.position is not null
        and company_hosts.company_id is not null
)

select
    position,
    array_agg(id order by id) as company_ids
from found
group by position
