create view public.companies_summary with (security_invoker = on) as
select
    company.*,
    count(distinct deal.id) as nb_deals,
    count(distinct contact.id) as nb_contacts
from public.companies as company
left join public.deals as deal on deal.company_id = company.id
left join public.contacts as contact on contact.company_id = company.id
group by company.id;

-- runs as its owner
create view public.contacts_summary as
select
    contact.id,
    contact.first_name,
    contact.last_name,
    contact.gender,
    contact.title,
    contact.email_jsonb,
    jsonb_path_query_array(contact.email_jsonb, '$[*]."email"')::text as email_fts,
    contact.phone_jsonb,
    jsonb_path_query_array(contact.phone_jsonb, '$[*]."number"')::text as phone_fts,
    contact.background,
    contact.avatar,
    contact.first_seen,
    contact.last_seen,
    contact.has_newsletter,
    contact.status,
    contact.tags,
    contact.company_id,
    contact.sales_id,
    contact.linkedin_url,
    company.name as company_name,
    count(distinct task.id) as nb_tasks
from public.contacts as contact
left join public.tasks as task on task.contact_id = contact.id
left join public.companies as company on company.id = contact.company_id
group by contact.id, company.name;

-- read before anybody has logged in, so it must run as its owner
create view public.init_state with (security_invoker = off) as
select count(*) as is_initialized
from (select id from public.sales limit 1) as first_user;
