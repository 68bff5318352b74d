drop view
    pg_temp.demo_sales,
    pg_temp.demo_tags,
    pg_temp.demo_companies,
    pg_temp.demo_contacts,
    pg_temp.demo_deals,
    pg_temp.demo_deal_notes,
    pg_temp.demo_contact_notes,
    pg_temp.demo_tasks;

drop table if exists pg_temp.demo_queue;
drop table pg_temp.demo_parameters, pg_temp.demo_words, pg_temp.demo_categories, pg_temp.demo_targets;

drop function pg_temp.pick(bigint, text, text[]);
drop function pg_temp.number(bigint, text, bigint, bigint);
drop function pg_temp.moment(bigint, text, timestamptz, timestamptz);
drop function pg_temp.slug(text);
drop function pg_temp.texts(jsonb);
drop function pg_temp.weighted(jsonb, text);
drop function pg_temp.draw(bigint, text);
