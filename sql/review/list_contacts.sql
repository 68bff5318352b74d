-- One page of contacts with their primary organization.
select
    page.id,
    coalesce(nullif(btrim(concat_ws(' ', page.first_name, page.last_name)), ''), '(no name)') as title,
    page.title as position,
    companies.name as organization,
    (
        select count(*) from {links} as others
        where others.contact_id = page.id and others.deleted_at is null and not others.is_primary_organization
    ) as others
from (
    select id, first_name, last_name, title
    from public.contacts
    where deleted_at is null and {match} and {beyond}
    order by {order}
    limit {limit}
) as page
left join {links} as primary_link
    on primary_link.contact_id = page.id and primary_link.is_primary_organization and primary_link.deleted_at is null
left join public.companies on companies.id = primary_link.organization_id
order by {order}
