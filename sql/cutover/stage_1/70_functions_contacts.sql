-- What the application calls about contacts and their organizations. Run as the caller, so row level security applies.

create function public.add_contact_to_organization(
    contact_id bigint,
    organization_id bigint,
    is_primary_organization boolean default false,
    role public.contact_role default null,
    purchase_influence text default 'Unknown',
    decision_authority text default null,
    is_primary_contact boolean default false,
    is_primary_decision_maker boolean default false,
    notes text default null
) returns public.contact_organizations
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    link public.contact_organizations;
begin
    -- "at most one": whoever was it before is not any more
    if add_contact_to_organization.is_primary_organization then
        update public.contact_organizations as other
        set is_primary_organization = false
        where other.contact_id = add_contact_to_organization.contact_id
            and other.organization_id <> add_contact_to_organization.organization_id
            and other.is_primary_organization
            and other.deleted_at is null;
    end if;
    if add_contact_to_organization.is_primary_contact then
        update public.contact_organizations as other
        set is_primary_contact = false
        where other.organization_id = add_contact_to_organization.organization_id
            and other.contact_id <> add_contact_to_organization.contact_id
            and other.is_primary_contact
            and other.deleted_at is null;
    end if;
    if add_contact_to_organization.is_primary_decision_maker then
        update public.contact_organizations as other
        set is_primary_decision_maker = false
        where other.organization_id = add_contact_to_organization.organization_id
            and other.contact_id <> add_contact_to_organization.contact_id
            and other.is_primary_decision_maker
            and other.deleted_at is null;
    end if;

    insert into public.contact_organizations (
        contact_id, organization_id, is_primary_organization, is_primary_contact, is_primary_decision_maker,
        role, purchase_influence, decision_authority, relationship_start_date, notes
    )
    values (
        add_contact_to_organization.contact_id,
        add_contact_to_organization.organization_id,
        coalesce(add_contact_to_organization.is_primary_organization, false),
        coalesce(add_contact_to_organization.is_primary_contact, false),
        coalesce(add_contact_to_organization.is_primary_decision_maker, false),
        add_contact_to_organization.role,
        coalesce(add_contact_to_organization.purchase_influence, 'Unknown'),
        add_contact_to_organization.decision_authority,
        current_date,
        add_contact_to_organization.notes
    )
    on conflict (contact_id, organization_id) where deleted_at is null do update
    set
        -- an existing link is only told more
        is_primary_organization = contact_organizations.is_primary_organization or excluded.is_primary_organization,
        is_primary_contact = contact_organizations.is_primary_contact or excluded.is_primary_contact,
        is_primary_decision_maker = contact_organizations.is_primary_decision_maker or excluded.is_primary_decision_maker,
        role = coalesce(excluded.role, contact_organizations.role),
        purchase_influence = case
            when excluded.purchase_influence = 'Unknown' then contact_organizations.purchase_influence
            else excluded.purchase_influence
        end,
        decision_authority = coalesce(excluded.decision_authority, contact_organizations.decision_authority),
        notes = coalesce(excluded.notes, contact_organizations.notes)
    returning * into link;
    return link;
end
$$;
comment on function public.add_contact_to_organization(
    bigint, bigint, boolean, public.contact_role, text, text, boolean, boolean, text
) is 'Links a contact to an organization, or adds to the link that there is. A primary takes the place of the one before.';

create function public.get_contact_organizations(contact_id bigint)
returns table (
    link_id bigint,
    organization_id bigint,
    organization_name text,
    organization_type public.organization_type,
    is_primary_organization boolean,
    is_primary_contact boolean,
    is_primary_decision_maker boolean,
    role public.contact_role,
    purchase_influence text,
    decision_authority text,
    relationship_start_date date,
    relationship_end_date date,
    notes text
)
language sql
stable
set search_path = ''
as $$
    select
        link.id,
        link.organization_id,
        companies.name,
        companies.organization_type,
        link.is_primary_organization,
        link.is_primary_contact,
        link.is_primary_decision_maker,
        link.role,
        link.purchase_influence,
        link.decision_authority,
        link.relationship_start_date,
        link.relationship_end_date,
        link.notes
    from public.contact_organizations as link
    inner join public.companies on companies.id = link.organization_id
    where link.contact_id = get_contact_organizations.contact_id
        and link.deleted_at is null
        and companies.deleted_at is null
    order by link.is_primary_organization desc, companies.name, link.id
$$;
comment on function public.get_contact_organizations(bigint) is 'The organizations of a contact, the primary one first.';

create function public.get_organization_contacts(organization_id bigint)
returns table (
    link_id bigint,
    contact_id bigint,
    first_name text,
    last_name text,
    title text,
    is_primary_organization boolean,
    is_primary_contact boolean,
    is_primary_decision_maker boolean,
    role public.contact_role,
    purchase_influence text,
    decision_authority text,
    relationship_start_date date,
    relationship_end_date date,
    notes text
)
language sql
stable
set search_path = ''
as $$
    select
        link.id,
        link.contact_id,
        contacts.first_name,
        contacts.last_name,
        contacts.title,
        link.is_primary_organization,
        link.is_primary_contact,
        link.is_primary_decision_maker,
        link.role,
        link.purchase_influence,
        link.decision_authority,
        link.relationship_start_date,
        link.relationship_end_date,
        link.notes
    from public.contact_organizations as link
    inner join public.contacts on contacts.id = link.contact_id
    where link.organization_id = get_organization_contacts.organization_id
        and link.deleted_at is null
        and contacts.deleted_at is null
    order by link.is_primary_contact desc, contacts.last_name, contacts.first_name, link.id
$$;
comment on function public.get_organization_contacts(bigint) is 'The contacts of an organization, the primary one first.';

create function public.add_principal_advocacy(
    contact_id bigint,
    principal_organization_id bigint,
    advocacy_strength integer default 5,
    notes text default null
) returns public.contact_preferred_principals
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    advocacy public.contact_preferred_principals;
begin
    insert into public.contact_preferred_principals (contact_id, principal_organization_id, advocacy_strength, notes)
    values (
        add_principal_advocacy.contact_id,
        add_principal_advocacy.principal_organization_id,
        add_principal_advocacy.advocacy_strength::smallint,
        add_principal_advocacy.notes
    )
    on conflict (contact_id, principal_organization_id) where deleted_at is null do update
    set
        advocacy_strength = excluded.advocacy_strength,
        notes = coalesce(excluded.notes, contact_preferred_principals.notes)
    returning * into advocacy;
    return advocacy;
end
$$;
comment on function public.add_principal_advocacy(bigint, bigint, integer, text)
is 'A contact speaks for a principal, from 1 (hardly) to 10 (strongly).';

select crm_compat.grant_call(
    'public.add_contact_to_organization(bigint, bigint, boolean, public.contact_role, text, text, boolean, boolean, text)'
);
select crm_compat.grant_call('public.get_contact_organizations(bigint)');
select crm_compat.grant_call('public.get_organization_contacts(bigint)');
select crm_compat.grant_call('public.add_principal_advocacy(bigint, bigint, integer, text)');
