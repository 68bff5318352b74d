-- only those that say more than "whoever is logged in may"
select
    policy.tablename::text as relation,
    policy.policyname::text as name
from pg_catalog.pg_policies as policy
where
    policy.schemaname = 'public'
    and (
        policy.roles <> array['authenticated'::name]
        or policy.permissive <> 'PERMISSIVE'
        or coalesce(policy.qual, 'true') <> 'true'
        or coalesce(policy.with_check, 'true') <> 'true'
    )
order by policy.tablename, policy.policyname
