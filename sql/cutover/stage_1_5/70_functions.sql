-- What the application calls about products and who sells them. Run as the caller, so row level security applies.

create function public.add_product(
    principal_organization_id bigint,
    name text,
    sku text default null,
    category text default null,
    description text default null,
    unit_price numeric default null,
    is_active boolean default true
) returns public.products
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    product public.products;
begin
    insert into public.products (principal_organization_id, name, sku, category, description, unit_price, is_active)
    values (
        add_product.principal_organization_id,
        add_product.name,
        add_product.sku,
        add_product.category,
        add_product.description,
        add_product.unit_price,
        coalesce(add_product.is_active, true)
    )
    returning * into product;
    return product;
end
$$;
comment on function public.add_product(bigint, text, text, text, text, numeric, boolean)
is 'Adds a product of a principal; its sku is used once per principal.';

create function public.get_distributor_products(distributor_organization_id bigint)
returns table (
    product_id bigint,
    product_name text,
    sku text,
    category text,
    unit_price numeric,
    principal_organization_id bigint,
    principal_name text,
    commission_percent numeric
)
language sql
stable
set search_path = ''
as $$
    select
        products.id,
        products.name,
        products.sku,
        products.category,
        products.unit_price,
        products.principal_organization_id,
        companies.name,
        relationship.commission_percent
    from public.principal_distributor_relationships as relationship
    inner join public.products on products.principal_organization_id = relationship.principal_organization_id
    inner join public.companies on companies.id = relationship.principal_organization_id
    where relationship.distributor_organization_id = get_distributor_products.distributor_organization_id
        and relationship.status = 'active'
        and relationship.deleted_at is null
        and products.is_active
        and products.deleted_at is null
        and companies.deleted_at is null
    order by companies.name, products.name, products.id
$$;
comment on function public.get_distributor_products(bigint)
is 'The active products of all principals that the distributor has an active relationship with.';

create function public.get_principal_distributors(principal_organization_id bigint)
returns table (
    relationship_id bigint,
    distributor_organization_id bigint,
    distributor_name text,
    status public.relationship_status,
    start_date date,
    end_date date,
    commission_percent numeric,
    nb_opportunities bigint
)
language sql
stable
set search_path = ''
as $$
    select
        relationship.id,
        relationship.distributor_organization_id,
        companies.name,
        relationship.status,
        relationship.start_date,
        relationship.end_date,
        relationship.commission_percent,
        (
            select count(*)
            from public.opportunities
            where opportunities.principal_organization_id = relationship.principal_organization_id
                and opportunities.distributor_organization_id = relationship.distributor_organization_id
                and opportunities.deleted_at is null
        )
    from public.principal_distributor_relationships as relationship
    inner join public.companies on companies.id = relationship.distributor_organization_id
    where relationship.principal_organization_id = get_principal_distributors.principal_organization_id
        and relationship.deleted_at is null
        and companies.deleted_at is null
    order by relationship.status, companies.name, relationship.id
$$;
comment on function public.get_principal_distributors(bigint) is 'The distributors of a principal, active relationships first.';

select crm_compat.grant_call('public.add_product(bigint, text, text, text, text, numeric, boolean)');
select crm_compat.grant_call('public.get_distributor_products(bigint)');
select crm_compat.grant_call('public.get_principal_distributors(bigint)');
