-- The organizations of a contact, the primary one first.
select
    companies.id,
    companies.name as title,
    links.is_primary_organization,
    links.role::text,
    links.origin,
    companies.organization_type::text as type
from {links} as links
inner join public.companies on companies.id = links.organization_id
where links.contact_id = {key} and links.deleted_at is null
order by links.is_primary_organization desc, companies.name, companies.id
limit 100
