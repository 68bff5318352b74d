-- The deals that list a contact, or the opportunities that they are now.
select
    count(*) over () as total,
    deals.id::text as key,
    deals.name as label,
    '' as how
from {deals} as deals
where deals.contact_ids @> array[{id}::bigint]
order by deals.id
limit {limit}
