-- Lists about products and relationships. Every view runs as the one who asks.

create view public.principal_product_summary with (security_invoker = true) as
select
    companies.id as principal_organization_id,
    companies.name as principal_name,
    products.nb_products,
    products.nb_active_products,
    products.nb_categories,
    products.average_unit_price,
    lines.nb_opportunities,
    coalesce(lines.products_amount, 0) as products_amount
from public.companies
cross join lateral (
    select
        count(*) as nb_products,
        count(*) filter (where products.is_active) as nb_active_products,
        count(distinct products.category) as nb_categories,
        round(avg(products.unit_price), 2) as average_unit_price
    from public.products
    where products.principal_organization_id = companies.id and products.deleted_at is null
) as products
cross join lateral (
    select
        count(distinct opportunity_products.opportunity_id) as nb_opportunities,
        sum(opportunity_products.final_price) as products_amount
    from public.opportunity_products
    inner join public.products on products.id = opportunity_products.product_id
    inner join public.opportunities on opportunities.id = opportunity_products.opportunity_id
    where products.principal_organization_id = companies.id
        and opportunity_products.deleted_at is null
        and opportunities.deleted_at is null
) as lines
where companies.is_principal and companies.deleted_at is null;
comment on view public.principal_product_summary is 'One row per principal: its products and what was offered of them.';

create view public.distributor_relationship_summary with (security_invoker = true) as
select
    companies.id as distributor_organization_id,
    companies.name as distributor_name,
    relationships.nb_principals,
    relationships.nb_active_principals,
    relationships.average_commission_percent,
    relationships.first_start_date,
    opportunities.nb_opportunities,
    opportunities.open_amount,
    opportunities.won_amount
from public.companies
cross join lateral (
    select
        count(distinct relationship.principal_organization_id) as nb_principals,
        count(distinct relationship.principal_organization_id) filter (where relationship.status = 'active') as nb_active_principals,
        round(avg(relationship.commission_percent) filter (where relationship.status = 'active'), 2) as average_commission_percent,
        min(relationship.start_date) as first_start_date
    from public.principal_distributor_relationships as relationship
    where relationship.distributor_organization_id = companies.id and relationship.deleted_at is null
) as relationships
cross join lateral (
    select
        count(*) as nb_opportunities,
        coalesce(sum(opportunities.amount) filter (where opportunities.stage not in ('closed_won', 'closed_lost')), 0) as open_amount,
        coalesce(sum(opportunities.amount) filter (where opportunities.stage = 'closed_won'), 0) as won_amount
    from public.opportunities
    where opportunities.distributor_organization_id = companies.id and opportunities.deleted_at is null
) as opportunities
where companies.is_distributor and companies.deleted_at is null;
comment on view public.distributor_relationship_summary is 'One row per distributor: its principals, commissions and opportunities.';

select crm_compat.grant_like_deals('public.principal_product_summary', only_read => true);
select crm_compat.grant_like_deals('public.distributor_relationship_summary', only_read => true);
