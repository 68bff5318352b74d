-- What runs with its owner's rights is fired by triggers, which need nobody's permission: nobody can call it.
do $$
declare
    behind regprocedure;
begin
    for behind in
        select pg_proc.oid::regprocedure
        from pg_catalog.pg_proc
        where pg_proc.pronamespace = 'crm_compat'::regnamespace
            and pg_proc.prosecdef
            and pg_proc.proname <> 'next_number'
        order by 1
    loop
        perform crm_migration.revoke_calls(behind);
    end loop;
end
$$;
