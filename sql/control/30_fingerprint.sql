-- The logical description of a schema: what an administrator would say is there. No oids, attribute numbers, file nodes or
-- statistics, and nothing of the maintenance lock's own fence: two databases that behave alike are described alike.
create table if not exists crm_migration.fingerprints (
    run_id text not null,
    kind text not null check (kind in ('before', 'after_cutover', 'after_rollback')),
    content jsonb not null,
    taken_at timestamptz not null default clock_timestamp(),
    primary key (run_id, kind)
);

-- Relations of the schema that are the installation's or ours, not an extension's.
create or replace function crm_migration.own_relations(crm_schema text)
returns table (oid oid, name text, kind "char")
language sql
stable
set search_path = ''
as $$
    select pg_class.oid, pg_class.relname::text, pg_class.relkind
    from pg_catalog.pg_class
    where pg_class.relnamespace = crm_schema::regnamespace
        and pg_class.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c')
        and not exists (
            select from pg_catalog.pg_depend
            where pg_depend.classid = 'pg_catalog.pg_class'::regclass
                and pg_depend.objid = pg_class.oid
                and pg_depend.deptype = 'e'
        )
$$;

create or replace function crm_migration.describe_relations(crm_schema text)
returns table (kind text, identity text, content jsonb)
language sql
stable
set search_path = ''
as $$
    with relations as (
        select own.name, pg_class.*
        from crm_migration.own_relations(crm_schema) as own
        inner join pg_catalog.pg_class on pg_class.oid = own.oid
    )
    select
        'relation',
        relations.name,
        jsonb_build_object(
            'kind', relations.relkind,
            'owner', relations.relowner::regrole::text,
            'persistence', relations.relpersistence,
            'row_security', relations.relrowsecurity,
            'force_row_security', relations.relforcerowsecurity,
            'replica_identity', relations.relreplident,
            'options', (select jsonb_agg(item order by item) from unnest(relations.reloptions) as item),
            'populated', relations.relispopulated,
            'comment', obj_description(relations.oid, 'pg_class')
        )
    from relations
    where relations.relkind <> 'c'
    union all
    select 'view', relations.name, to_jsonb(pg_get_viewdef(relations.oid))
    from relations
    where relations.relkind in ('v', 'm')
    union all
    select
        'column',
        relations.name || '.' || pg_attribute.attname,
        jsonb_build_object(
            'position', rank() over (partition by relations.oid order by pg_attribute.attnum),
            'type', format_type(pg_attribute.atttypid, pg_attribute.atttypmod),
            'not_null', pg_attribute.attnotnull,
            'default', pg_get_expr(pg_attrdef.adbin, pg_attrdef.adrelid),
            'identity', pg_attribute.attidentity,
            'generated', pg_attribute.attgenerated,
            'collation', nullif(pg_attribute.attcollation, 0)::regcollation::text,
            'comment', col_description(relations.oid, pg_attribute.attnum)
        )
    from relations
    inner join pg_catalog.pg_attribute
        on pg_attribute.attrelid = relations.oid and pg_attribute.attnum > 0 and not pg_attribute.attisdropped
    left join pg_catalog.pg_attrdef
        on pg_attrdef.adrelid = relations.oid and pg_attrdef.adnum = pg_attribute.attnum
    where relations.relkind <> 'S'
    union all
    select
        'constraint',
        relations.name || '.' || pg_constraint.conname,
        jsonb_build_object(
            'definition', pg_get_constraintdef(pg_constraint.oid),
            'validated', pg_constraint.convalidated,
            'comment', obj_description(pg_constraint.oid, 'pg_constraint')
        )
    from relations
    inner join pg_catalog.pg_constraint on pg_constraint.conrelid = relations.oid
    -- not-null constraints have rows of their own since 18; the column's flag says the same for all versions
    where pg_constraint.contype not in ('n', 't')
    union all
    select
        'index',
        relations.name || '.' || index_class.relname,
        jsonb_build_object(
            'definition', pg_get_indexdef(pg_index.indexrelid),
            'valid', pg_index.indisvalid,
            'clustered', pg_index.indisclustered,
            'replica_identity', pg_index.indisreplident,
            'comment', obj_description(pg_index.indexrelid, 'pg_class')
        )
    from relations
    inner join pg_catalog.pg_index on pg_index.indrelid = relations.oid
    inner join pg_catalog.pg_class as index_class on index_class.oid = pg_index.indexrelid
    union all
    select
        'trigger',
        relations.name || '.' || pg_trigger.tgname,
        jsonb_build_object(
            'definition', pg_get_triggerdef(pg_trigger.oid),
            'enabled', pg_trigger.tgenabled,
            'comment', obj_description(pg_trigger.oid, 'pg_trigger')
        )
    from relations
    inner join pg_catalog.pg_trigger on pg_trigger.tgrelid = relations.oid
    where not pg_trigger.tgisinternal and pg_trigger.tgname <> 'crm_migrate_fence'
    union all
    select
        'rule',
        relations.name || '.' || pg_rewrite.rulename,
        jsonb_build_object('definition', pg_get_ruledef(pg_rewrite.oid), 'enabled', pg_rewrite.ev_enabled)
    from relations
    inner join pg_catalog.pg_rewrite on pg_rewrite.ev_class = relations.oid
    where pg_rewrite.rulename <> '_RETURN'
    union all
    select
        'policy',
        relations.name || '.' || pg_policy.polname,
        jsonb_build_object(
            'command', pg_policy.polcmd,
            'permissive', pg_policy.polpermissive,
            'roles', (
                select jsonb_agg(role_name order by role_name)
                from unnest(pg_policy.polroles) as role_oid
                cross join lateral (
                    select case when role_oid = 0 then 'public' else role_oid::regrole::text end as role_name
                ) as named
            ),
            'using', pg_get_expr(pg_policy.polqual, pg_policy.polrelid),
            'check', pg_get_expr(pg_policy.polwithcheck, pg_policy.polrelid),
            'comment', obj_description(pg_policy.oid, 'pg_policy')
        )
    from relations
    inner join pg_catalog.pg_policy on pg_policy.polrelid = relations.oid
    union all
    select
        'statistics',
        relations.name || '.' || pg_statistic_ext.stxname,
        to_jsonb(pg_get_statisticsobjdef(pg_statistic_ext.oid))
    from relations
    inner join pg_catalog.pg_statistic_ext on pg_statistic_ext.stxrelid = relations.oid
    union all
    select
        'sequence',
        relations.name,
        jsonb_build_object(
            'type', pg_sequence.seqtypid::regtype::text,
            'start', pg_sequence.seqstart,
            'increment', pg_sequence.seqincrement,
            'minimum', pg_sequence.seqmin,
            'maximum', pg_sequence.seqmax,
            'cache', pg_sequence.seqcache,
            'cycle', pg_sequence.seqcycle,
            'owned_by', (
                select pg_depend.refobjid::regclass::text || '.' || pg_attribute.attname
                from pg_catalog.pg_depend
                inner join pg_catalog.pg_attribute
                    on pg_attribute.attrelid = pg_depend.refobjid and pg_attribute.attnum = pg_depend.refobjsubid
                where pg_depend.classid = 'pg_catalog.pg_class'::regclass
                    and pg_depend.objid = relations.oid
                    and pg_depend.refclassid = 'pg_catalog.pg_class'::regclass
                    and pg_depend.deptype in ('a', 'i')
            )
        )
    from relations
    inner join pg_catalog.pg_sequence on pg_sequence.seqrelid = relations.oid
    union all
    select
        'inheritance',
        relations.name,
        jsonb_agg(pg_inherits.inhparent::regclass::text order by pg_inherits.inhseqno)
    from relations
    inner join pg_catalog.pg_inherits on pg_inherits.inhrelid = relations.oid
    group by relations.name
    union all
    select
        'publication_table',
        pg_publication.pubname || '.' || relations.name,
        jsonb_build_object(
            'columns', (
                select jsonb_agg(pg_attribute.attname order by pg_attribute.attname)
                from pg_catalog.pg_attribute
                where pg_attribute.attrelid = relations.oid and pg_attribute.attnum = any(pg_publication_rel.prattrs)
            ),
            'where', pg_get_expr(pg_publication_rel.prqual, pg_publication_rel.prrelid)
        )
    from relations
    inner join pg_catalog.pg_publication_rel on pg_publication_rel.prrelid = relations.oid
    inner join pg_catalog.pg_publication on pg_publication.oid = pg_publication_rel.prpubid
$$;

create or replace function crm_migration.describe_others(crm_schema text)
returns table (kind text, identity text, content jsonb)
language sql
stable
set search_path = ''
as $$
    with extension_members as (
        select pg_depend.classid, pg_depend.objid
        from pg_catalog.pg_depend
        where pg_depend.deptype = 'e'
    )
    select
        'function',
        pg_proc.oid::regprocedure::text,
        jsonb_build_object(
            'definition', case when pg_proc.prokind in ('f', 'p', 'w') then pg_get_functiondef(pg_proc.oid) end,
            'kind', pg_proc.prokind,
            'owner', pg_proc.proowner::regrole::text,
            'comment', obj_description(pg_proc.oid, 'pg_proc'),
            'grants', (
                select jsonb_agg(entry order by entry)
                from pg_catalog.aclexplode(coalesce(pg_proc.proacl, acldefault('f', pg_proc.proowner))) as acl
                cross join lateral (
                    select concat_ws(
                        ' ',
                        case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end,
                        acl.privilege_type,
                        case when acl.is_grantable then 'grantable' end
                    ) as entry
                ) as described
                where acl.grantee <> pg_proc.proowner
            )
        )
    from pg_catalog.pg_proc
    where pg_proc.pronamespace = crm_schema::regnamespace
        and not exists (
            select from extension_members
            where extension_members.classid = 'pg_catalog.pg_proc'::regclass and extension_members.objid = pg_proc.oid
        )
    union all
    select
        'type',
        pg_type.typname::text,
        jsonb_build_object(
            'kind', pg_type.typtype,
            'owner', pg_type.typowner::regrole::text,
            'comment', obj_description(pg_type.oid, 'pg_type'),
            'labels', (
                select jsonb_agg(pg_enum.enumlabel order by pg_enum.enumsortorder)
                from pg_catalog.pg_enum
                where pg_enum.enumtypid = pg_type.oid
            ),
            'base', case when pg_type.typtype = 'd' then format_type(pg_type.typbasetype, pg_type.typtypmod) end,
            'not_null', pg_type.typnotnull,
            'default', pg_type.typdefault,
            'checks', (
                select jsonb_object_agg(pg_constraint.conname, pg_get_constraintdef(pg_constraint.oid))
                from pg_catalog.pg_constraint
                where pg_constraint.contypid = pg_type.oid and pg_constraint.contype = 'c'
            )
        )
    from pg_catalog.pg_type
    left join pg_catalog.pg_class on pg_class.oid = pg_type.typrelid
    where pg_type.typnamespace = crm_schema::regnamespace
        and (pg_type.typtype in ('e', 'd', 'r') or pg_class.relkind = 'c')
        and not exists (
            select from extension_members
            where extension_members.classid = 'pg_catalog.pg_type'::regclass and extension_members.objid = pg_type.oid
        )
    union all
    select
        'publication',
        pg_publication.pubname::text,
        jsonb_build_object(
            'all_tables', pg_publication.puballtables,
            'insert', pg_publication.pubinsert,
            'update', pg_publication.pubupdate,
            'delete', pg_publication.pubdelete,
            'truncate', pg_publication.pubtruncate,
            'via_root', pg_publication.pubviaroot,
            'schema', exists (
                select from pg_catalog.pg_publication_namespace
                where pg_publication_namespace.pnpubid = pg_publication.oid
                    and pg_publication_namespace.pnnspid = crm_schema::regnamespace
            )
        )
    from pg_catalog.pg_publication
    union all
    select
        'schema_grant',
        concat_ws(
            ' ',
            case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end,
            acl.privilege_type,
            case when acl.is_grantable then 'grantable' end
        ),
        'true'
    from pg_catalog.pg_namespace
    cross join lateral pg_catalog.aclexplode(coalesce(pg_namespace.nspacl, acldefault('n', pg_namespace.nspowner))) as acl
    where pg_namespace.oid = crm_schema::regnamespace and acl.grantee <> pg_namespace.nspowner
    union all
    select
        'role',
        pg_roles.rolname::text,
        jsonb_build_object('can_login', pg_roles.rolcanlogin, 'connection_limit', pg_roles.rolconnlimit)
    from pg_catalog.pg_roles
    where pg_roles.rolname in ('anon', 'authenticated', 'service_role', 'authenticator')
$$;

-- Grants on relations and columns; the owner's own are left out, since "none" and "all of the owner" mean the same.
create or replace function crm_migration.describe_grants(crm_schema text)
returns table (relation text, column_name text, grantee text, privilege text, grantable boolean)
language sql
stable
set search_path = ''
as $$
    select
        own.name,
        entry.column_name,
        case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end,
        acl.privilege_type,
        acl.is_grantable
    from crm_migration.own_relations(crm_schema) as own
    inner join pg_catalog.pg_class on pg_class.oid = own.oid
    cross join lateral (
        select null::text as column_name, pg_class.relacl as acl
        union all
        select pg_attribute.attname::text, pg_attribute.attacl
        from pg_catalog.pg_attribute
        where pg_attribute.attrelid = own.oid and not pg_attribute.attisdropped
    ) as entry
    cross join lateral pg_catalog.aclexplode(entry.acl) as acl
    where acl.grantee <> pg_class.relowner
$$;

-- Row count and content hash of each table. The hash is a sum, so it does not depend on the order of the rows; it is taken
-- over the text form, so json and citext are compared exactly; of all columns, also where one is called like the row.
create or replace function crm_migration.table_contents(crm_schema text)
returns table (name text, row_count bigint, hash text)
language sql
set search_path = ''
as $$
    select own.name, content.row_count, content.hash
    from crm_migration.own_relations(crm_schema) as own
    cross join lateral crm_migration.content_of(own.oid::regclass) as content
    where own.kind = 'r'
    order by own.name
$$;

create or replace function crm_migration.sequence_values(crm_schema text)
returns table (name text, last_value bigint, is_called boolean)
language plpgsql
set search_path = ''
as $$
declare
    one record;
begin
    for one in
        select own.oid, own.name from crm_migration.own_relations(crm_schema) as own where own.kind = 'S' order by own.name
    loop
        name := one.name;
        execute format('select last_value, is_called from %s', one.oid::regclass) into last_value, is_called;
        return next;
    end loop;
end
$$;
