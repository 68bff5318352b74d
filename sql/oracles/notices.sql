-- Persons who have more than one notice of an event about the same plan or run, whatever the case of their address; and
-- notices that share a Message-ID.
select
    event,
    subject,
    count(*) as rows
from crm_migration.notices
group by event, subject, lower(recipient)
having count(*) > 1
union all
select
    min(event),
    min(subject),
    count(*)
from crm_migration.notices
group by message_id
having count(*) > 1
