-- Everything that depends on some relations, directly or through others, each at its greatest distance: who is rebuilt in
-- order of distance finds what it needs. Kinds: view, materialized view, function, policy, rule, or "other" for what nobody
-- can rebuild. What hangs on a view itself (its triggers, rules, defaults) is saved with the view.
create or replace function crm_migration.dependants(roots regclass[])
returns table (kind text, class_id oid, object_id oid, distance integer, identity text)
language sql
stable
set search_path = ''
as $$
    with recursive walk as (
        select 'pg_catalog.pg_class'::regclass::oid as class_id, root::oid as object_id, 0 as distance
        from unnest(roots) as root
        union
        select next_node.class_id, next_node.object_id, walk.distance + next_node.further
        from walk
        inner join pg_catalog.pg_depend
            on pg_depend.refclassid = walk.class_id and pg_depend.refobjid = walk.object_id
        left join pg_catalog.pg_rewrite
            on pg_depend.classid = 'pg_catalog.pg_rewrite'::regclass and pg_rewrite.oid = pg_depend.objid
        cross join lateral (
            select
                case when pg_rewrite.rulename = '_RETURN' then 'pg_catalog.pg_class'::regclass::oid else pg_depend.classid end
                    as class_id,
                case when pg_rewrite.rulename = '_RETURN' then pg_rewrite.ev_class else pg_depend.objid end as object_id,
                -- a row type is as far away as its relation
                case when pg_depend.classid = 'pg_catalog.pg_type'::regclass then 0 else 1 end as further
        ) as next_node
        where pg_depend.deptype in ('n', 'a', 'i')
            and (next_node.class_id, next_node.object_id) <> (walk.class_id, walk.object_id)
            -- deeper chains than this are cycles
            and walk.distance < 100
    ),
    farthest as (
        select walk.class_id, walk.object_id, max(walk.distance) as distance
        from walk
        left join pg_catalog.pg_class
            on walk.class_id = 'pg_catalog.pg_class'::regclass and pg_class.oid = walk.object_id
        -- a view among the roots is to be replaced itself
        where walk.distance > 0 or pg_class.relkind in ('v', 'm')
        group by walk.class_id, walk.object_id
    ),
    named as (
        select
            farthest.*,
            pg_class.relkind,
            coalesce(
                pg_policy.polrelid, pg_rewrite.ev_class, pg_trigger.tgrelid, pg_attrdef.adrelid, pg_constraint.conrelid,
                pg_statistic_ext.stxrelid, pg_publication_rel.prrelid
            ) as belongs_to,
            pg_constraint.contype,
            pg_trigger.tgisinternal
        from farthest
        left join pg_catalog.pg_class
            on farthest.class_id = 'pg_catalog.pg_class'::regclass and pg_class.oid = farthest.object_id
        left join pg_catalog.pg_policy
            on farthest.class_id = 'pg_catalog.pg_policy'::regclass and pg_policy.oid = farthest.object_id
        left join pg_catalog.pg_rewrite
            on farthest.class_id = 'pg_catalog.pg_rewrite'::regclass and pg_rewrite.oid = farthest.object_id
        left join pg_catalog.pg_trigger
            on farthest.class_id = 'pg_catalog.pg_trigger'::regclass and pg_trigger.oid = farthest.object_id
        left join pg_catalog.pg_attrdef
            on farthest.class_id = 'pg_catalog.pg_attrdef'::regclass and pg_attrdef.oid = farthest.object_id
        left join pg_catalog.pg_constraint
            on farthest.class_id = 'pg_catalog.pg_constraint'::regclass and pg_constraint.oid = farthest.object_id
        left join pg_catalog.pg_statistic_ext
            on farthest.class_id = 'pg_catalog.pg_statistic_ext'::regclass and pg_statistic_ext.oid = farthest.object_id
        left join pg_catalog.pg_publication_rel
            on farthest.class_id = 'pg_catalog.pg_publication_rel'::regclass and pg_publication_rel.oid = farthest.object_id
    ),
    in_the_way as (
        select named.*
        from named
        where named.class_id <> 'pg_catalog.pg_type'::regclass
            and coalesce(named.relkind, 'v') not in ('i', 'I', 'S', 't')
            -- what belongs to a root is carried with it; what belongs to a saved view is saved with it
            and not coalesce(named.belongs_to = any(roots), false)
            and not exists (
                select from farthest as saved
                where saved.class_id = 'pg_catalog.pg_class'::regclass and saved.object_id = named.belongs_to
            )
            -- foreign keys are re-pointed, publications edited, build schemas thrown away
            and named.contype is distinct from 'f'
            and named.tgisinternal is distinct from true
            and not exists (
                select from pg_catalog.pg_class as builds
                inner join pg_catalog.pg_namespace on pg_namespace.oid = builds.relnamespace
                where builds.oid = coalesce(named.belongs_to, named.object_id) and pg_namespace.nspname = 'crm_build'
            )
    )
    select
        case
            when in_the_way.relkind = 'v' then 'view'
            when in_the_way.relkind = 'm' then 'materialized view'
            when in_the_way.class_id = 'pg_catalog.pg_proc'::regclass then 'function'
            when in_the_way.class_id = 'pg_catalog.pg_policy'::regclass then 'policy'
            when in_the_way.class_id = 'pg_catalog.pg_rewrite'::regclass then 'rule'
            else 'other'
        end,
        in_the_way.class_id,
        in_the_way.object_id,
        in_the_way.distance,
        case
            when in_the_way.relkind in ('v', 'm') then in_the_way.object_id::regclass::text
            when in_the_way.class_id = 'pg_catalog.pg_proc'::regclass then in_the_way.object_id::regprocedure::text
            else pg_describe_object(in_the_way.class_id, in_the_way.object_id, 0)
        end
    from in_the_way
    order by in_the_way.distance, 5
$$;

create or replace function crm_migration.comment_statements(class_id oid, object_id oid, target text) returns text
language sql
stable
set search_path = ''
as $$
    select coalesce(string_agg(format('comment on %s is %L;', target, pg_description.description), ' '), '')
    from pg_catalog.pg_description
    where pg_description.classoid = class_id and pg_description.objoid = object_id and pg_description.objsubid = 0
$$;

-- The statements that make a view or materialized view again, all but its grants.
create or replace function crm_migration.view_statements(view_oid oid) returns text
language sql
stable
set search_path = ''
as $$
    select concat_ws(
        e'\n',
        format(
            'create %s %s%s as %s%s;',
            case pg_class.relkind when 'm' then 'materialized view' else 'view' end,
            view_oid::regclass,
            ' with (' || (
                select string_agg(format('%I = %L', split_part(item, '=', 1), substr(item, strpos(item, '=') + 1)), ', ')
                from unnest(pg_class.reloptions) as item
            ) || ')',
            rtrim(pg_get_viewdef(view_oid), ';'),
            case when pg_class.relkind = 'm' and not pg_class.relispopulated then ' with no data' else '' end
        ),
        (
            select string_agg(
                format('alter view %s alter column %I set default %s;', view_oid::regclass, attname, default_text), e'\n'
            )
            from (
                select pg_attribute.attname, pg_get_expr(pg_attrdef.adbin, pg_attrdef.adrelid) as default_text
                from pg_catalog.pg_attrdef
                inner join pg_catalog.pg_attribute
                    on pg_attribute.attrelid = pg_attrdef.adrelid and pg_attribute.attnum = pg_attrdef.adnum
                where pg_attrdef.adrelid = view_oid
            ) as defaults
        ),
        (
            select string_agg(pg_get_indexdef(pg_index.indexrelid) || ';', e'\n' order by pg_index.indexrelid)
            from pg_catalog.pg_index
            where pg_index.indrelid = view_oid
        ),
        (
            select string_agg(pg_get_ruledef(pg_rewrite.oid), e'\n' order by pg_rewrite.rulename)
            from pg_catalog.pg_rewrite
            where pg_rewrite.ev_class = view_oid and pg_rewrite.rulename <> '_RETURN'
        ),
        (
            select string_agg(
                pg_get_triggerdef(pg_trigger.oid) || ';'
                || case pg_trigger.tgenabled
                    when 'D' then format(' alter table %s disable trigger %I;', view_oid::regclass, pg_trigger.tgname)
                    else ''
                end,
                e'\n' order by pg_trigger.tgname
            )
            from pg_catalog.pg_trigger
            where pg_trigger.tgrelid = view_oid and not pg_trigger.tgisinternal
        ),
        (
            select string_agg(
                case
                    when pg_description.objsubid = 0
                        then format(
                            'comment on %s %s is %L;',
                            case pg_class.relkind when 'm' then 'materialized view' else 'view' end,
                            view_oid::regclass, pg_description.description
                        )
                    else format(
                        'comment on column %s.%I is %L;', view_oid::regclass, pg_attribute.attname, pg_description.description
                    )
                end,
                e'\n' order by pg_description.objsubid
            )
            from pg_catalog.pg_description
            left join pg_catalog.pg_attribute
                on pg_attribute.attrelid = view_oid and pg_attribute.attnum = pg_description.objsubid
            where pg_description.classoid = 'pg_catalog.pg_class'::regclass and pg_description.objoid = view_oid
        ),
        format(
            'alter %s %s owner to %s;',
            case pg_class.relkind when 'm' then 'materialized view' else 'view' end, view_oid::regclass,
            pg_class.relowner::regrole
        )
    )
    from pg_catalog.pg_class
    where pg_class.oid = view_oid
$$;

create or replace function crm_migration.function_statements(function_oid oid) returns text
language sql
stable
set search_path = ''
as $$
    select concat_ws(
        e'\n',
        pg_get_functiondef(function_oid) || ';',
        crm_migration.comment_statements(
            'pg_catalog.pg_proc'::regclass, function_oid, 'function ' || function_oid::regprocedure
        ),
        format('select crm_migration.revoke_calls(%L::regprocedure);', function_oid::regprocedure),
        (
            select string_agg(
                format(
                    'grant execute on routine %s to %s%s;',
                    function_oid::regprocedure,
                    case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end,
                    case when acl.is_grantable then ' with grant option' else '' end
                ),
                e'\n'
            )
            from pg_catalog.aclexplode(coalesce(pg_proc.proacl, acldefault('f', pg_proc.proowner))) as acl
            where acl.grantee <> pg_proc.proowner
        ),
        format('alter routine %s owner to %s;', function_oid::regprocedure, pg_proc.proowner::regrole)
    )
    from pg_catalog.pg_proc
    where pg_proc.oid = function_oid
$$;

-- The statement that makes a policy again, on the table it is on.
create or replace function crm_migration.policy_statements(policy_oid oid) returns text
language sql
stable
set search_path = ''
as $$
    select concat_ws(
        e'\n',
        concat_ws(
            ' ',
            format('create policy %I on %s', pg_policy.polname, pg_policy.polrelid::regclass),
            case when pg_policy.polpermissive then 'as permissive' else 'as restrictive' end,
            'for ' || case pg_policy.polcmd
                when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all'
            end,
            'to ' || (
                select string_agg(case when member = 0 then 'public' else member::regrole::text end, ', ')
                from unnest(pg_policy.polroles) as member
            ),
            'using (' || pg_get_expr(pg_policy.polqual, pg_policy.polrelid) || ')',
            'with check (' || pg_get_expr(pg_policy.polwithcheck, pg_policy.polrelid) || ')'
        ) || ';',
        nullif(
            crm_migration.comment_statements(
                'pg_catalog.pg_policy'::regclass, policy_oid,
                format('policy %I on %s', pg_policy.polname, pg_policy.polrelid::regclass)
            ),
            ''
        )
    )
    from pg_catalog.pg_policy
    where pg_policy.oid = policy_oid
$$;

-- Tables of the schema with their own kinds of children, to see later what a transaction created.
create or replace function crm_migration.objects_of(crm_schema text)
returns table (class_id oid, object_id oid, kind text, identity text)
language sql
stable
set search_path = ''
as $$
    with objects as (
        select 'pg_catalog.pg_class'::regclass::oid as class_id, pg_class.oid as object_id
        from pg_catalog.pg_class
        where pg_class.relnamespace = crm_schema::regnamespace and pg_class.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'i')
        union all
        select 'pg_catalog.pg_proc'::regclass, pg_proc.oid
        from pg_catalog.pg_proc
        where pg_proc.pronamespace = crm_schema::regnamespace
        union all
        select 'pg_catalog.pg_type'::regclass, pg_type.oid
        from pg_catalog.pg_type
        where pg_type.typnamespace = crm_schema::regnamespace and pg_type.typtype in ('e', 'd')
        union all
        select 'pg_catalog.pg_trigger'::regclass, pg_trigger.oid
        from pg_catalog.pg_trigger
        inner join pg_catalog.pg_class on pg_class.oid = pg_trigger.tgrelid
        where pg_class.relnamespace = crm_schema::regnamespace
            and not pg_trigger.tgisinternal and pg_trigger.tgname <> 'crm_migrate_fence'
        union all
        select 'pg_catalog.pg_policy'::regclass, pg_policy.oid
        from pg_catalog.pg_policy
        inner join pg_catalog.pg_class on pg_class.oid = pg_policy.polrelid
        where pg_class.relnamespace = crm_schema::regnamespace
        union all
        select 'pg_catalog.pg_constraint'::regclass, pg_constraint.oid
        from pg_catalog.pg_constraint
        inner join pg_catalog.pg_class on pg_class.oid = pg_constraint.conrelid
        where pg_class.relnamespace = crm_schema::regnamespace and pg_constraint.contype in ('c', 'f', 'u', 'x')
    )
    select objects.class_id, objects.object_id, found.type, found.identity
    from objects
    cross join lateral pg_catalog.pg_identify_object(objects.class_id, objects.object_id, 0) as found
$$;

-- Takes every privilege on a relation and its columns from everybody but its owner.
create or replace function crm_migration.revoke_all(target regclass) returns void
language plpgsql
set search_path = ''
as $$
declare
    one record;
begin
    for one in
        select distinct case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end as grantee
        from pg_catalog.pg_class
        cross join lateral (
            select pg_class.relacl as entries
            union all
            select pg_attribute.attacl from pg_catalog.pg_attribute where pg_attribute.attrelid = target
        ) as lists
        cross join lateral pg_catalog.aclexplode(lists.entries) as acl
        where pg_class.oid = target and acl.grantee <> pg_class.relowner
    loop
        execute format('revoke all on %s from %s', target, one.grantee);
    end loop;
end
$$;

create or replace function crm_migration.revoke_calls(target regprocedure) returns void
language plpgsql
set search_path = ''
as $$
declare
    one record;
begin
    for one in
        select distinct case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end as grantee
        from pg_catalog.pg_proc
        cross join lateral pg_catalog.aclexplode(coalesce(pg_proc.proacl, acldefault('f', pg_proc.proowner))) as acl
        where pg_proc.oid = target and acl.grantee <> pg_proc.proowner
    loop
        execute format('revoke all on routine %s from %s', target, one.grantee);
    end loop;
end
$$;
