-- The organizations with the largest sum of opportunities.
select
    companies.id,
    companies.name as title,
    totals.opportunities,
    totals.amount
from (
    select
        customer_organization_id as id,
        count(*) as opportunities,
        sum(amount) as amount
    from {opportunities}
    where customer_organization_id is not null and deleted_at is null
    group by customer_organization_id
    order by sum(amount) desc nulls last, customer_organization_id
    limit 3
) as totals
inner join public.companies on companies.id = totals.id
order by totals.amount desc nulls last, companies.id
