-- The contacts that work with the most organizations; where few work with several, those of one fill up.
with several as (
    select
        contact_id as id,
        count(*) + 1 as organizations
    from {links}
    where deleted_at is null and not is_primary_organization
    group by contact_id
    order by count(*) desc, contact_id
    limit 10
),

filled as (
    select * from several
    union all
    (
        select
            links.contact_id,
            1
        from {links} as links
        where links.deleted_at is null
            and links.is_primary_organization
            and links.contact_id not in (select several.id from several)
        order by links.contact_id
        limit 10
    )
)

select
    contacts.id,
    coalesce(nullif(btrim(concat_ws(' ', contacts.first_name, contacts.last_name)), ''), '(no name)') as title,
    filled.organizations
from filled
inner join public.contacts on contacts.id = filled.id
order by filled.organizations desc, contacts.id
limit 10
