insert into pg_temp.demo_tasks (id, contact_id, type, text, due_date, done_date, sales_id)
with dated as (
    select
        task.id,
        contact.id as contact_id,
        pg_temp.moment(task.id, 'task due', contact.first_seen, word.as_of + interval '45 days') as due_date
    from pg_temp.demo_words as word
    cross join generate_series(1::bigint, word.tasks) as task (id)
    inner join pg_temp.demo_contacts as contact
        on contact.id = pg_temp.number(task.id, 'task contact', 1, word.contacts)
)

select
    task.id,
    task.contact_id,
    pg_temp.pick(task.id, 'task type', word.task_types),
    pg_temp.pick(task.id, 'task text', word.task_texts),
    task.due_date,
    case
        when pg_temp.draw(task.id, 'task done') < 0.6 and task.due_date < word.as_of
            then pg_temp.moment(task.id, 'task done at', task.due_date, least(task.due_date + interval '9 days', word.as_of))
    end,
    pg_temp.number(task.id, 'task sales', 1, word.sales)
from dated as task
cross join pg_temp.demo_words as word;
