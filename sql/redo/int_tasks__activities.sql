-- holds for: 970a5064428aa999
-- by: id
-- A task that changed, or whose contact or user did.
select id as key from {tasks}
union all
select tasks.task_id
from crm_build.stg_legacy__tasks as tasks
inner join {contacts} as contacts on contacts.id = tasks.contact_id
union all
select tasks.task_id
from crm_build.stg_legacy__tasks as tasks
inner join {sales} as sales on sales.id = tasks.sales_id
