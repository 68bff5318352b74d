-- The customer, principal and distributor of an opportunity are its columns for one application and its primary participants
-- for the other. Each side writes the other only where it differs, so the two triggers come to rest by themselves.

create function crm_compat.set_participant(opportunity bigint, party public.participant_role, organization bigint) returns void
language plpgsql
set search_path = ''
as $$
begin
    update public.opportunity_participants
    set deleted_at = now()
    where opportunity_participants.opportunity_id = opportunity
        and opportunity_participants.role = party
        and opportunity_participants.is_primary
        and opportunity_participants.deleted_at is null
        and opportunity_participants.organization_id is distinct from organization;
    if organization is null then
        return;
    end if;
    update public.opportunity_participants
    set is_primary = true
    where opportunity_participants.opportunity_id = opportunity
        and opportunity_participants.role = party
        and opportunity_participants.organization_id = organization
        and opportunity_participants.deleted_at is null
        and not opportunity_participants.is_primary;
    insert into public.opportunity_participants (opportunity_id, organization_id, role, is_primary, origin)
    select opportunity, organization, party, true, 'deal'
    where not exists (
        select from public.opportunity_participants
        where opportunity_participants.opportunity_id = opportunity
            and opportunity_participants.role = party
            and opportunity_participants.organization_id = organization
            and opportunity_participants.deleted_at is null
    );
end
$$;
comment on function crm_compat.set_participant(bigint, public.participant_role, bigint) is 'Makes the organization the primary participant of this role; null leaves none.';

create function crm_compat.participants_follow_opportunity() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'INSERT' or new.customer_organization_id is distinct from old.customer_organization_id then
        perform crm_compat.set_participant(new.id, 'customer', new.customer_organization_id);
    end if;
    if tg_op = 'INSERT' or new.principal_organization_id is distinct from old.principal_organization_id then
        perform crm_compat.set_participant(new.id, 'principal', new.principal_organization_id);
    end if;
    if tg_op = 'INSERT' or new.distributor_organization_id is distinct from old.distributor_organization_id then
        perform crm_compat.set_participant(new.id, 'distributor', new.distributor_organization_id);
    end if;
    return null;
end
$$;
comment on function crm_compat.participants_follow_opportunity() is 'Trigger: the primary participants are the organizations in the columns of the opportunity.';

create function crm_compat.opportunity_follows_participants() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- deleted together with its organization: the column's own foreign key says what becomes of the opportunity
    if tg_op <> 'INSERT'
        and old.is_primary and old.deleted_at is null
        and old.role in ('customer', 'principal', 'distributor')
        and (
            tg_op = 'DELETE'
            or not new.is_primary or new.deleted_at is not null
            or new.role <> old.role or new.organization_id <> old.organization_id or new.opportunity_id <> old.opportunity_id
        )
        and exists (select from public.companies where companies.id = old.organization_id)
    then
        update public.opportunities
        set
            customer_organization_id = case when old.role <> 'customer' then opportunities.customer_organization_id end,
            principal_organization_id = case when old.role <> 'principal' then opportunities.principal_organization_id end,
            distributor_organization_id = case when old.role <> 'distributor' then opportunities.distributor_organization_id end
        where opportunities.id = old.opportunity_id
            and old.organization_id = case old.role
                when 'customer' then opportunities.customer_organization_id
                when 'principal' then opportunities.principal_organization_id
                else opportunities.distributor_organization_id
            end;
    end if;
    if tg_op <> 'DELETE' and new.is_primary and new.deleted_at is null and new.role in ('customer', 'principal', 'distributor') then
        update public.opportunities
        set
            customer_organization_id = case
                when new.role = 'customer' then new.organization_id else opportunities.customer_organization_id
            end,
            principal_organization_id = case
                when new.role = 'principal' then new.organization_id else opportunities.principal_organization_id
            end,
            distributor_organization_id = case
                when new.role = 'distributor' then new.organization_id else opportunities.distributor_organization_id
            end
        where opportunities.id = new.opportunity_id
            and new.organization_id is distinct from case new.role
                when 'customer' then opportunities.customer_organization_id
                when 'principal' then opportunities.principal_organization_id
                else opportunities.distributor_organization_id
            end;
    end if;
    return null;
end
$$;
comment on function crm_compat.opportunity_follows_participants() is 'Trigger: the columns of the opportunity are the organizations of its primary participants.';

create trigger crm_participants_follow after insert or update of customer_organization_id, principal_organization_id, distributor_organization_id
on public.opportunities
for each row execute function crm_compat.participants_follow_opportunity();

create trigger crm_opportunity_follows after insert or update or delete on public.opportunity_participants
for each row execute function crm_compat.opportunity_follows_participants();
