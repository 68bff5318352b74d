-- NOT VALID as those of stage 1: checked before the maintenance lock is released.
alter table public.products
    add constraint products_principal_organization_id_fkey
        foreign key (principal_organization_id) references public.companies (id) on delete cascade not valid,
    add constraint products_created_by_fkey
        foreign key (created_by) references public.sales (id) on delete set null not valid;

alter table public.principal_distributor_relationships
    add constraint principal_distributor_relationships_principal_fkey
        foreign key (principal_organization_id) references public.companies (id) on delete cascade not valid,
    add constraint principal_distributor_relationships_distributor_fkey
        foreign key (distributor_organization_id) references public.companies (id) on delete cascade not valid,
    add constraint principal_distributor_relationships_created_by_fkey
        foreign key (created_by) references public.sales (id) on delete set null not valid;
