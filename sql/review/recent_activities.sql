-- What was done last.
select
    id,
    legacy_task_id,
    coalesce(nullif(subject, ''), nullif(description, ''), '(no text)') as title,
    coalesce(interaction_type::text, activity_type::text) as kind,
    left(activity_date::text, 16) as activity_date
from {activities} as activities
where activities.activity_date <= now() and deleted_at is null
order by activities.activity_date desc, id desc
limit 10
