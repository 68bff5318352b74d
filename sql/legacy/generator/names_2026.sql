-- One set of names for both generations, so that the files which fill the tables know none of them.
create view pg_temp.demo_sales as select * from public.sales;
create view pg_temp.demo_tags as select * from public.tags;
create view pg_temp.demo_companies as select * from public.companies;
create view pg_temp.demo_contacts as select * from public.contacts;
create view pg_temp.demo_deals as select * from public.deals;
create view pg_temp.demo_deal_notes as select * from public.deal_notes;
create view pg_temp.demo_contact_notes as select * from public.contact_notes;
create view pg_temp.demo_tasks as select * from public.tasks;
