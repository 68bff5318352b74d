-- What the application reads in lists. Every view runs as the one who asks; soft-deleted rows are left out.

create view public.opportunities_summary with (security_invoker = true) as
select
    opportunities.*,
    customer.name as customer_name,
    principal.name as principal_name,
    distributor.name as distributor_name,
    participants.nb_participants,
    activities.nb_activities,
    activities.last_activity_date,
    coalesce(products.nb_products, 0) as nb_products,
    coalesce(products.products_amount, 0) as products_amount
from public.opportunities
left join public.companies as customer on customer.id = opportunities.customer_organization_id
left join public.companies as principal on principal.id = opportunities.principal_organization_id
left join public.companies as distributor on distributor.id = opportunities.distributor_organization_id
cross join lateral (
    select count(*) as nb_participants
    from public.opportunity_participants
    where opportunity_participants.opportunity_id = opportunities.id and opportunity_participants.deleted_at is null
) as participants
cross join lateral (
    select count(*) as nb_activities, max(activities.activity_date) as last_activity_date
    from public.activities
    where activities.opportunity_id = opportunities.id and activities.deleted_at is null
) as activities
cross join lateral (
    select count(*) as nb_products, sum(opportunity_products.final_price) as products_amount
    from public.opportunity_products
    where opportunity_products.opportunity_id = opportunities.id and opportunity_products.deleted_at is null
) as products
where opportunities.deleted_at is null;
comment on view public.opportunities_summary is 'One row per opportunity, with the names of its organizations and counts of what belongs to it.';

create view public.opportunities_with_participants with (security_invoker = true) as
select
    opportunities.id,
    opportunities.name,
    opportunities.stage,
    opportunities.status,
    opportunities.priority,
    opportunities.probability,
    opportunities.amount,
    opportunities.commission_percent,
    opportunities.commission_amount,
    opportunities.estimated_close_date,
    opportunities.sales_id,
    opportunities.customer_organization_id,
    opportunities.principal_organization_id,
    opportunities.distributor_organization_id,
    opportunities.contact_ids,
    opportunities.created_at,
    opportunities.updated_at,
    opportunities.archived_at,
    participants.participants
from public.opportunities
cross join lateral (
    select
        coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', opportunity_participants.id,
                    'organization_id', opportunity_participants.organization_id,
                    'organization_name', companies.name,
                    'role', opportunity_participants.role,
                    'is_primary', opportunity_participants.is_primary,
                    'commission_percent', opportunity_participants.commission_percent,
                    'territory', opportunity_participants.territory,
                    'notes', opportunity_participants.notes
                )
                order by opportunity_participants.role, opportunity_participants.is_primary desc, opportunity_participants.id
            ),
            '[]'
        ) as participants
    from public.opportunity_participants
    left join public.companies on companies.id = opportunity_participants.organization_id
    where opportunity_participants.opportunity_id = opportunities.id and opportunity_participants.deleted_at is null
) as participants
where opportunities.deleted_at is null;
comment on view public.opportunities_with_participants is 'One row per opportunity, with its participants as a JSON array.';

create view public.contact_influence_profile with (security_invoker = true) as
select
    contacts.id as contact_id,
    contacts.first_name,
    contacts.last_name,
    contacts.title,
    contacts.role,
    contacts.department,
    contacts.purchase_influence,
    contacts.decision_authority,
    contacts.company_id as primary_organization_id,
    companies.name as primary_organization_name,
    links.nb_organizations,
    links.nb_primary_contact,
    links.nb_decision_maker,
    links.highest_purchase_influence,
    advocacy.nb_preferred_principals,
    advocacy.average_advocacy_strength,
    opportunities.nb_opportunities
from public.contacts
left join public.companies on companies.id = contacts.company_id
cross join lateral (
    select
        count(*) as nb_organizations,
        count(*) filter (where contact_organizations.is_primary_contact) as nb_primary_contact,
        count(*) filter (where contact_organizations.is_primary_decision_maker) as nb_decision_maker,
        (array['High', 'Medium', 'Low', 'Unknown'])[
            min(array_position(array['High', 'Medium', 'Low', 'Unknown'], contact_organizations.purchase_influence))
        ] as highest_purchase_influence
    from public.contact_organizations
    where contact_organizations.contact_id = contacts.id and contact_organizations.deleted_at is null
) as links
cross join lateral (
    select
        count(*) as nb_preferred_principals,
        round(avg(contact_preferred_principals.advocacy_strength), 1) as average_advocacy_strength
    from public.contact_preferred_principals
    where contact_preferred_principals.contact_id = contacts.id and contact_preferred_principals.deleted_at is null
) as advocacy
cross join lateral (
    select count(*) as nb_opportunities
    from public.opportunities
    where opportunities.contact_ids @> array[contacts.id] and opportunities.deleted_at is null
) as opportunities
where contacts.deleted_at is null;
comment on view public.contact_influence_profile is 'One row per contact: where the contact has a say, and how strong.';

create view public.principal_advocacy_dashboard with (security_invoker = true) as
select
    companies.id as principal_organization_id,
    companies.name as principal_name,
    advocacy.nb_advocates,
    advocacy.nb_strong_advocates,
    advocacy.average_advocacy_strength,
    opportunities.nb_opportunities,
    opportunities.nb_won,
    opportunities.open_amount,
    opportunities.won_amount,
    opportunities.won_commission_amount
from public.companies
cross join lateral (
    select
        count(*) as nb_advocates,
        count(*) filter (where contact_preferred_principals.advocacy_strength >= 8) as nb_strong_advocates,
        round(avg(contact_preferred_principals.advocacy_strength), 1) as average_advocacy_strength
    from public.contact_preferred_principals
    inner join public.contacts on contacts.id = contact_preferred_principals.contact_id
    where contact_preferred_principals.principal_organization_id = companies.id
        and contact_preferred_principals.deleted_at is null
        and contacts.deleted_at is null
) as advocacy
cross join lateral (
    select
        count(*) as nb_opportunities,
        count(*) filter (where opportunities.stage = 'closed_won') as nb_won,
        coalesce(sum(opportunities.amount) filter (where opportunities.stage not in ('closed_won', 'closed_lost')), 0) as open_amount,
        coalesce(sum(opportunities.amount) filter (where opportunities.stage = 'closed_won'), 0) as won_amount,
        coalesce(sum(opportunities.commission_amount) filter (where opportunities.stage = 'closed_won'), 0) as won_commission_amount
    from public.opportunities
    where opportunities.principal_organization_id = companies.id and opportunities.deleted_at is null
) as opportunities
where companies.is_principal and companies.deleted_at is null;
comment on view public.principal_advocacy_dashboard is 'One row per principal: who speaks for it and what its opportunities are worth.';
