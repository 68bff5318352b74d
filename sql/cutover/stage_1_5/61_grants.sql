select crm_compat.grant_like_deals('public.products');
select crm_compat.grant_like_deals('public.principal_distributor_relationships');
