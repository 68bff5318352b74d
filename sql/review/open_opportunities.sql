-- The largest opportunities that are open.
select
    id,
    name as title,
    stage::text,
    amount
from {opportunities}
where stage not in ('closed_won', 'closed_lost') and archived_at is null and deleted_at is null
order by amount desc nulls last, id
limit 10
