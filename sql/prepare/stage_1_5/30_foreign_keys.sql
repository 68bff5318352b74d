-- A product line of stage 1 names its product as soon as there are products.
do $$
begin
    if not exists (
        select from pg_catalog.pg_constraint
        where pg_constraint.conname = 'opportunity_products_product_id_fkey'
            and pg_constraint.conrelid = 'crm_build.opportunity_products'::regclass
    ) then
        alter table crm_build.opportunity_products add constraint opportunity_products_product_id_fkey
        foreign key (product_id) references crm_build.products (id) on delete set null not valid;
    end if;
end
$$;
