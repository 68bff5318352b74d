-- An installation may have a column of this name already: it is adopted when its type is the same, and refused otherwise.
do $$
declare
    taken text;
begin
    select
        string_agg(
            format('%s.%s is %s instead of %s', wanted.relation, wanted.name, format_type(has.atttypid, has.atttypmod), wanted.type),
            ', '
        )
    into taken
    from (
        values
        ('companies', 'parent_company_id', 'bigint'),
        ('companies', 'segment', 'text'),
        ('companies', 'priority', 'text'),
        ('companies', 'deleted_at', 'timestamp with time zone'),
        ('contacts', 'role', 'public.contact_role'),
        ('contacts', 'department', 'text'),
        ('contacts', 'purchase_influence', 'text'),
        ('contacts', 'decision_authority', 'text'),
        ('contacts', 'deleted_at', 'timestamp with time zone')
    ) as wanted (relation, name, type)
    inner join pg_catalog.pg_attribute as has
        on has.attrelid = pg_catalog.to_regclass('public.' || wanted.relation)
        and has.attname = wanted.name
        and has.attnum > 0
        and not has.attisdropped
    where has.atttypid <> wanted.type::regtype or has.atttypmod <> -1;
    if taken is not null then
        raise exception 'Columns that the migration adds exist with another type: %.', taken
            using errcode = 'duplicate_column', hint = 'Rename these columns of the installation before the migration.';
    end if;
end
$$;

alter table public.companies
    add column if not exists parent_company_id bigint
        constraint companies_parent_company_id_fkey references public.companies (id) on delete set null,
    add column if not exists segment text,
    add column if not exists priority text not null default 'C'
        constraint companies_priority_check check (priority in ('A', 'B', 'C', 'D')),
    add column if not exists deleted_at timestamptz;

-- the classification may have used the most frequent values as defaults; these are the ones of a new company
alter table public.companies
    alter column organization_type set default 'prospect',
    alter column is_principal set default false,
    alter column is_distributor set default false;

alter table public.contacts
    add column if not exists role public.contact_role,
    add column if not exists department text;

-- NOT VALID, since every contact would be read: it is checked with the foreign keys, before the maintenance lock is released
do $$
begin
    if not exists (
        select from pg_catalog.pg_attribute
        where attrelid = 'public.contacts'::regclass and attname = 'purchase_influence' and not attisdropped
    ) then
        alter table public.contacts
            add column purchase_influence text not null default 'Unknown',
            add constraint contacts_purchase_influence_check
                check (purchase_influence in ('High', 'Medium', 'Low', 'Unknown')) not valid;
    end if;
end
$$;

alter table public.contacts
    add column if not exists decision_authority text,
    add column if not exists deleted_at timestamptz;

create index companies_parent_company_id_idx on public.companies (parent_company_id) where parent_company_id is not null;
create index companies_organization_type_idx on public.companies (organization_type);
create index companies_is_principal_idx on public.companies (id) where is_principal;
create index companies_is_distributor_idx on public.companies (id) where is_distributor;

-- generation 2025 has no index behind this key
do $$
begin
    if not exists (
        select from pg_catalog.pg_index
        inner join pg_catalog.pg_attribute
            on pg_attribute.attrelid = pg_index.indrelid and pg_attribute.attnum = pg_index.indkey[0]
        where pg_index.indrelid = 'public.opportunity_notes'::regclass
            and pg_index.indpred is null
            and pg_attribute.attname = 'opportunity_id'
    ) then
        create index opportunity_notes_opportunity_id_idx on public.opportunity_notes (opportunity_id);
    end if;
end
$$;

comment on column public.companies.organization_type is 'What the company is to us; principal also for one that is principal and distributor.';
comment on column public.companies.is_principal is 'Manufacturer whose products we sell.';
comment on column public.companies.is_distributor is 'Sells products of principals.';
comment on column public.companies.priority is 'A (highest) to D.';
comment on column public.companies.deleted_at is 'Deleted at this time; views leave the row out.';
comment on column public.contacts.deleted_at is 'Deleted at this time; views leave the row out.';
