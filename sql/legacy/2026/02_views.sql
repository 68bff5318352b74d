create view public.activity_log with (security_invoker = on) as
select
    'company.' || company.id || '.created' as id,
    'company.created' as type,
    company.created_at as date,
    company.id as company_id,
    company.sales_id,
    to_json(company.*) as company,
    null::json as contact,
    null::json as deal,
    null::json as contact_note,
    null::json as deal_note
from public.companies as company
union all
select
    'contact.' || contact.id || '.created',
    'contact.created',
    contact.first_seen,
    contact.company_id,
    contact.sales_id,
    null::json,
    to_json(contact.*),
    null::json,
    null::json,
    null::json
from public.contacts as contact
union all
select
    'contactNote.' || note.id || '.created',
    'contactNote.created',
    note.date,
    contact.company_id,
    note.sales_id,
    null::json,
    null::json,
    null::json,
    to_json(note.*),
    null::json
from public.contact_notes as note
left join public.contacts as contact on contact.id = note.contact_id
union all
select
    'deal.' || deal.id || '.created',
    'deal.created',
    deal.created_at,
    deal.company_id,
    deal.sales_id,
    null::json,
    null::json,
    to_json(deal.*),
    null::json,
    null::json
from public.deals as deal
union all
select
    'dealNote.' || note.id || '.created',
    'dealNote.created',
    note.date,
    deal.company_id,
    note.sales_id,
    null::json,
    null::json,
    null::json,
    null::json,
    to_json(note.*)
from public.deal_notes as note
left join public.deals as deal on deal.id = note.deal_id;

create view public.companies_summary with (security_invoker = on) as
select
    company.*,
    count(distinct deal.id) as nb_deals,
    count(distinct contact.id) as nb_contacts
from public.companies as company
left join public.deals as deal on deal.company_id = company.id
left join public.contacts as contact on contact.company_id = company.id
group by company.id;

create view public.contacts_summary with (security_invoker = on) as
select
    contact.*,
    jsonb_path_query_array(contact.email_jsonb, '$[*]."email"')::text as email_fts,
    jsonb_path_query_array(contact.phone_jsonb, '$[*]."number"')::text as phone_fts,
    company.name as company_name,
    count(distinct task.id) filter (where task.done_date is null) as nb_tasks
from public.contacts as contact
left join public.tasks as task on task.contact_id = contact.id
left join public.companies as company on company.id = contact.company_id
group by contact.id, company.name;

-- read before anybody has logged in, so it must run as its owner
create view public.init_state with (security_invoker = off) as
select count(*) as is_initialized
from (select id from public.sales limit 1) as first_user;
