-- One page of activities.
select
    page.id,
    coalesce(nullif(page.subject, ''), nullif(page.description, ''), '(no text)') as title,
    coalesce(page.interaction_type::text, page.activity_type::text) as kind,
    -- as text: a date may be infinity, or beyond what Python knows
    left(page.activity_date::text, 16) as activity_date,
    coalesce(nullif(btrim(concat_ws(' ', contacts.first_name, contacts.last_name)), ''), '(no name)') as contact
from (
    select id, subject, description, interaction_type, activity_type, activity_date, contact_id
    from {activities}
    where deleted_at is null and {match} and {beyond}
    order by {order}
    limit {limit}
) as page
left join public.contacts on contacts.id = page.contact_id
order by {order}
