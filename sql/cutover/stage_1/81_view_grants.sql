-- The views are read by whoever read deals; none of them is written to.
select crm_compat.grant_like_deals('public.opportunities_summary', only_read => true);
select crm_compat.grant_like_deals('public.opportunities_with_participants', only_read => true);
select crm_compat.grant_like_deals('public.contact_influence_profile', only_read => true);
select crm_compat.grant_like_deals('public.principal_advocacy_dashboard', only_read => true);
