-- The functions that the application calls (RPC): those of the migration are the ones with a comment.
select
    pg_proc.proname::text as name,
    pg_get_function_arguments(pg_proc.oid) as arguments,
    pg_get_function_result(pg_proc.oid) as result,
    obj_description(pg_proc.oid, 'pg_proc') as comment
from pg_catalog.pg_proc
where pg_proc.pronamespace = 'public'::regnamespace
    and pg_proc.prokind = 'f'
    and pg_proc.prorettype <> 'trigger'::regtype
    and obj_description(pg_proc.oid, 'pg_proc') is not null
order by pg_proc.proname collate "C"
