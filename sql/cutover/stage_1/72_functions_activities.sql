-- What the application calls to write down what happened. Run as the caller, so row level security applies.

create function public.log_engagement(
    contact_id bigint default null,
    organization_id bigint default null,
    interaction_type public.interaction_type default null,
    subject text default null,
    description text default null,
    activity_date timestamptz default now(),
    duration_minutes integer default null,
    outcome text default null,
    follow_up_required boolean default false,
    follow_up_date timestamptz default null
) returns public.activities
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    activity public.activities;
begin
    if log_engagement.contact_id is null and log_engagement.organization_id is null then
        raise exception 'An engagement needs a contact or an organization.' using errcode = 'check_violation';
    end if;
    insert into public.activities (
        activity_type, interaction_type, contact_id, organization_id, subject, description, activity_date,
        duration_minutes, outcome, follow_up_required, follow_up_date
    )
    values (
        'engagement',
        log_engagement.interaction_type,
        log_engagement.contact_id,
        coalesce(
            log_engagement.organization_id,
            (select contacts.company_id from public.contacts where contacts.id = log_engagement.contact_id)
        ),
        log_engagement.subject,
        log_engagement.description,
        log_engagement.activity_date,
        log_engagement.duration_minutes,
        log_engagement.outcome,
        coalesce(log_engagement.follow_up_required, false),
        log_engagement.follow_up_date
    )
    returning * into activity;
    return activity;
end
$$;
comment on function public.log_engagement(
    bigint, bigint, public.interaction_type, text, text, timestamptz, integer, text, boolean, timestamptz
) is 'Writes down an activity that belongs to no opportunity. The organization is the company of the contact when none is given.';

create function public.log_interaction(
    opportunity_id bigint,
    interaction_type public.interaction_type,
    contact_id bigint default null,
    organization_id bigint default null,
    subject text default null,
    description text default null,
    activity_date timestamptz default now(),
    duration_minutes integer default null,
    outcome text default null,
    follow_up_required boolean default false,
    follow_up_date timestamptz default null
) returns public.activities
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
    activity public.activities;
    customer bigint;
begin
    select opportunities.customer_organization_id
    into customer
    from public.opportunities
    where opportunities.id = log_interaction.opportunity_id and opportunities.deleted_at is null;
    if not found then
        raise exception 'There is no opportunity %.', log_interaction.opportunity_id using errcode = 'no_data_found';
    end if;
    if coalesce(log_interaction.contact_id, log_interaction.organization_id, customer) is null then
        raise exception 'An interaction needs a contact or an organization: opportunity % has no customer.', log_interaction.opportunity_id
            using errcode = 'check_violation';
    end if;
    insert into public.activities (
        activity_type, interaction_type, opportunity_id, contact_id, organization_id, subject, description, activity_date,
        duration_minutes, outcome, follow_up_required, follow_up_date
    )
    values (
        'interaction',
        log_interaction.interaction_type,
        log_interaction.opportunity_id,
        log_interaction.contact_id,
        coalesce(log_interaction.organization_id, customer),
        log_interaction.subject,
        log_interaction.description,
        log_interaction.activity_date,
        log_interaction.duration_minutes,
        log_interaction.outcome,
        coalesce(log_interaction.follow_up_required, false),
        log_interaction.follow_up_date
    )
    returning * into activity;
    return activity;
end
$$;
comment on function public.log_interaction(
    bigint, public.interaction_type, bigint, bigint, text, text, timestamptz, integer, text, boolean, timestamptz
) is 'Writes down an activity of an opportunity. The organization is its customer when none is given.';

select crm_compat.grant_call(
    'public.log_engagement(bigint, bigint, public.interaction_type, text, text, timestamptz, integer, text, boolean, timestamptz)'
);
select crm_compat.grant_call(
    'public.log_interaction(bigint, public.interaction_type, bigint, bigint, text, text, timestamptz, integer, text, boolean, timestamptz)'
);
