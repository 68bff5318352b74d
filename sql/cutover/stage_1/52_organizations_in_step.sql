-- contacts.company_id and the primary link of the contact are the same organization for the two applications.

create function crm_compat.links_follow_contact() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- the former employer: a link that only said so goes, one that somebody made stays without being primary
    update public.contact_organizations
    set
        is_primary_organization = false,
        deleted_at = case when contact_organizations.origin = 'employer' then now() end
    where contact_organizations.contact_id = new.id
        and contact_organizations.is_primary_organization
        and contact_organizations.deleted_at is null
        and contact_organizations.organization_id is distinct from new.company_id;
    if new.company_id is null then
        return null;
    end if;
    update public.contact_organizations
    set is_primary_organization = true
    where contact_organizations.contact_id = new.id
        and contact_organizations.organization_id = new.company_id
        and contact_organizations.deleted_at is null
        and not contact_organizations.is_primary_organization;
    insert into public.contact_organizations (contact_id, organization_id, is_primary_organization, origin)
    select new.id, new.company_id, true, 'employer'
    where not exists (
        select from public.contact_organizations
        where contact_organizations.contact_id = new.id
            and contact_organizations.organization_id = new.company_id
            and contact_organizations.deleted_at is null
    );
    return null;
end
$$;
comment on function crm_compat.links_follow_contact() is 'Trigger: the primary link is the company of the contact.';

create function crm_compat.contact_follows_links() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- deleted together with its company: the contact's own foreign key says what becomes of the contact
    if tg_op <> 'INSERT'
        and old.is_primary_organization and old.deleted_at is null
        and (
            tg_op = 'DELETE'
            or not new.is_primary_organization or new.deleted_at is not null
            or new.organization_id <> old.organization_id or new.contact_id <> old.contact_id
        )
        and exists (select from public.companies where companies.id = old.organization_id)
    then
        update public.contacts
        set company_id = null
        where contacts.id = old.contact_id and contacts.company_id = old.organization_id;
    end if;
    if tg_op <> 'DELETE' and new.is_primary_organization and new.deleted_at is null then
        update public.contacts
        set company_id = new.organization_id
        where contacts.id = new.contact_id and contacts.company_id is distinct from new.organization_id;
    end if;
    return null;
end
$$;
comment on function crm_compat.contact_follows_links() is 'Trigger: the company of the contact is its primary link.';

create trigger crm_links_follow after insert on public.contacts
for each row when (new.company_id is not null)
execute function crm_compat.links_follow_contact();
create trigger crm_links_follow_change after update of company_id on public.contacts
for each row when (new.company_id is distinct from old.company_id)
execute function crm_compat.links_follow_contact();

create trigger crm_contact_follows after insert or delete or update of contact_id, organization_id, is_primary_organization, deleted_at
on public.contact_organizations
for each row execute function crm_compat.contact_follows_links();
