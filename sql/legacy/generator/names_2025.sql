-- One set of names for both generations, so that the files which fill the tables know none of them.
create view pg_temp.demo_sales as select * from public.sales;
create view pg_temp.demo_tags as select * from public.tags;
create view pg_temp.demo_contacts as select * from public.contacts;
create view pg_temp.demo_deals as select * from public.deals;
create view pg_temp.demo_deal_notes as select * from public."dealNotes";
create view pg_temp.demo_contact_notes as select * from public."contactNotes";
create view pg_temp.demo_tasks as select * from public.tasks;
create view pg_temp.demo_companies as
select
    id,
    created_at,
    name,
    sector,
    size,
    linkedin_url,
    website,
    phone_number,
    address,
    zipcode,
    city,
    "stateAbbr" as state_abbr,
    sales_id,
    context_links,
    country,
    description,
    revenue,
    tax_identifier,
    logo
from public.companies;
