-- Rules that look at another table, which a CHECK cannot. They run as the owner of the tables: a rule holds whatever the
-- writer may see, and tells nobody more than a number.

create function crm_compat.set_audit_columns() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'UPDATE' then
        if new.updated_at is not distinct from old.updated_at then
            new.updated_at := now();
        end if;
    elsif new.created_by is null then
        select min(sales.id) into new.created_by
        from public.sales
        where sales.user_id::text = nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub';
    end if;
    return new;
end
$$;
comment on function crm_compat.set_audit_columns() is 'Trigger: who made the row, from the token of the API, and when it was last changed.';

create function crm_compat.set_opportunity_updated_at() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    -- the compatibility view says the time itself, or leaves it alone when only the order on the board changes
    if new.updated_at is not distinct from old.updated_at
        and coalesce(current_setting('crm_compat.through_view', true), '') <> 'on'
    then
        new.updated_at := now();
    end if;
    return new;
end
$$;
comment on function crm_compat.set_opportunity_updated_at() is 'Trigger: when the opportunity was last changed.';

create function crm_compat.check_company_flag() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    company_id bigint := (to_jsonb(new) ->> tg_argv[0])::bigint;
    flagged boolean;
begin
    if company_id is null then
        return new;
    end if;
    -- the lock keeps the flag until this transaction ends
    if tg_argv[1] = 'principal' then
        select companies.is_principal into flagged from public.companies where companies.id = company_id for share;
    else
        select companies.is_distributor into flagged from public.companies where companies.id = company_id for share;
    end if;
    -- a company that does not exist is the foreign key's to refuse
    if not flagged then
        raise exception 'Company % is not a %.', company_id, tg_argv[1]
            using errcode = 'check_violation',
                hint = format('Set companies.is_%s of company %s first.', tg_argv[1], company_id);
    end if;
    return new;
end
$$;
comment on function crm_compat.check_company_flag() is 'Trigger (column, role): the company in this column must be flagged as principal or distributor.';

create function crm_compat.check_company_roles() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    used_by text;
begin
    -- naming the type says the flag as well
    if tg_op = 'INSERT' or new.organization_type <> old.organization_type then
        new.is_principal := new.is_principal or new.organization_type = 'principal';
        new.is_distributor := new.is_distributor or new.organization_type = 'distributor';
    end if;
    if new.organization_type = 'customer' and (new.is_principal or new.is_distributor) then
        raise exception 'A customer is neither principal nor distributor (company %).', new.id
            using errcode = 'check_violation', hint = 'Take away is_principal and is_distributor, or choose another organization_type.';
    end if;
    if (new.organization_type = 'principal' and not new.is_principal)
        or (new.organization_type = 'distributor' and not new.is_distributor)
    then
        raise exception 'The type of company % is %, but its flag says no.', new.id, new.organization_type
            using errcode = 'check_violation', hint = 'Change organization_type together with the flag.';
    end if;
    if tg_op = 'UPDATE' and ((old.is_principal and not new.is_principal) or (old.is_distributor and not new.is_distributor)) then
        used_by := crm_compat.uses_of_company(
            new.id, old.is_principal and not new.is_principal, old.is_distributor and not new.is_distributor
        );
        if used_by is not null then
            raise exception 'Company % is still used as principal or distributor: %.', new.id, used_by
                using errcode = 'check_violation', hint = 'Change these rows first.';
        end if;
    end if;
    return new;
end
$$;
comment on function crm_compat.check_company_roles() is 'Trigger: the roles of a company fit each other and what it is used as.';

create function crm_compat.uses_of_company(company_id bigint, as_principal boolean, as_distributor boolean) returns text
language plpgsql
stable
set search_path = ''
as $$
declare
    uses text[] := '{}';
begin
    if exists (
        select from public.opportunities
        where opportunities.deleted_at is null
            and (
                (as_principal and opportunities.principal_organization_id = company_id)
                or (as_distributor and opportunities.distributor_organization_id = company_id)
            )
    ) then
        uses := uses || 'opportunities'::text;
    end if;
    if exists (
        select from public.opportunity_participants
        where opportunity_participants.deleted_at is null
            and opportunity_participants.organization_id = company_id
            and (
                (as_principal and opportunity_participants.role = 'principal')
                or (as_distributor and opportunity_participants.role = 'distributor')
            )
    ) then
        uses := uses || 'opportunity participants'::text;
    end if;
    if as_principal and exists (
        select from public.contact_preferred_principals
        where contact_preferred_principals.deleted_at is null
            and contact_preferred_principals.principal_organization_id = company_id
    ) then
        uses := uses || 'preferred principals of contacts'::text;
    end if;
    -- stage 1.5 may not be there
    if as_principal and to_regclass('public.products') is not null then
        if exists (
            select from public.products
            where products.deleted_at is null and products.principal_organization_id = company_id
        ) then
            uses := uses || 'products'::text;
        end if;
    end if;
    if to_regclass('public.principal_distributor_relationships') is not null then
        if exists (
            select from public.principal_distributor_relationships as relationship
            where relationship.deleted_at is null
                and (
                    (as_principal and relationship.principal_organization_id = company_id)
                    or (as_distributor and relationship.distributor_organization_id = company_id)
                )
        ) then
            uses := uses || 'relationships of principals and distributors'::text;
        end if;
    end if;
    return nullif(array_to_string(uses, ', '), '');
end
$$;
comment on function crm_compat.uses_of_company(bigint, boolean, boolean) is 'What refers to a company as principal or distributor; null when nothing does.';

create function crm_compat.check_customer_participant() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.role = 'customer' and new.deleted_at is null then
        -- an opportunity has one customer, so that one is the primary
        new.is_primary := true;
        if exists (
            select from public.opportunity_participants
            where opportunity_participants.opportunity_id = new.opportunity_id
                and opportunity_participants.role = 'customer'
                and opportunity_participants.deleted_at is null
                and opportunity_participants.id <> new.id
                -- the same one again is for the unique index, so that an upsert finds it
                and opportunity_participants.organization_id <> new.organization_id
        ) then
            raise exception 'Opportunity % has a customer already.', new.opportunity_id
                using errcode = 'unique_violation',
                    hint = 'Change opportunities.customer_organization_id, or the participant that is the customer.';
        end if;
    end if;
    return new;
end
$$;
comment on function crm_compat.check_customer_participant() is 'Trigger: an opportunity has one customer.';

create trigger crm_check_company_roles before insert or update of organization_type, is_principal, is_distributor on public.companies
for each row execute function crm_compat.check_company_roles();

create trigger crm_check_principal before insert or update of principal_organization_id on public.opportunities
for each row execute function crm_compat.check_company_flag('principal_organization_id', 'principal');
create trigger crm_check_distributor before insert or update of distributor_organization_id on public.opportunities
for each row execute function crm_compat.check_company_flag('distributor_organization_id', 'distributor');

create trigger crm_check_customer before insert or update of role, is_primary, deleted_at, opportunity_id on public.opportunity_participants
for each row execute function crm_compat.check_customer_participant();
create trigger crm_check_principal before insert or update of role, organization_id, deleted_at on public.opportunity_participants
for each row when (new.role = 'principal' and new.deleted_at is null)
execute function crm_compat.check_company_flag('organization_id', 'principal');
create trigger crm_check_distributor before insert or update of role, organization_id, deleted_at on public.opportunity_participants
for each row when (new.role = 'distributor' and new.deleted_at is null)
execute function crm_compat.check_company_flag('organization_id', 'distributor');

create trigger crm_check_principal before insert or update of principal_organization_id, deleted_at on public.contact_preferred_principals
for each row when (new.deleted_at is null)
execute function crm_compat.check_company_flag('principal_organization_id', 'principal');

create trigger crm_set_updated_at before update on public.opportunities
for each row execute function crm_compat.set_opportunity_updated_at();
create trigger crm_set_audit_columns before insert or update on public.contact_organizations
for each row execute function crm_compat.set_audit_columns();
create trigger crm_set_audit_columns before insert or update on public.contact_preferred_principals
for each row execute function crm_compat.set_audit_columns();
create trigger crm_set_audit_columns before insert or update on public.opportunity_participants
for each row execute function crm_compat.set_audit_columns();
create trigger crm_set_audit_columns before insert or update on public.opportunity_products
for each row execute function crm_compat.set_audit_columns();
create trigger crm_set_audit_columns before insert or update on public.activities
for each row execute function crm_compat.set_audit_columns();
create trigger crm_set_audit_columns before insert or update on public.interaction_participants
for each row execute function crm_compat.set_audit_columns();
