-- The contacts that a deal lists, in its order; an id without a contact has no name.
select
    count(*) over () as total,
    member.contact_id::text as key,
    coalesce(concat_ws(' ', contacts.first_name, contacts.last_name), '') as label,
    case
        when member.contact_id is null then 'names nobody'
        when contacts.id is null then 'does not exist'
        else ''
    end as how
from {deals} as deals
cross join lateral unnest(deals.contact_ids) with ordinality as member (contact_id, place)
left join {contacts} as contacts
    on contacts.id = member.contact_id
where deals.id = {id}
order by member.place
limit {limit}
