-- the application goes on after the last id
select setval(pg_get_serial_sequence(quote_ident(sequence.schema) || '.' || quote_ident(sequence.name), 'id'), sequence.last)
from (
    select 'public' as schema, 'sales' as name, max(id) as last from pg_temp.demo_sales
    union all
    select 'public', 'tags', max(id) from pg_temp.demo_tags
    union all
    select 'public', 'companies', max(id) from pg_temp.demo_companies
    union all
    select 'public', 'contacts', max(id) from pg_temp.demo_contacts
    union all
    select 'public', 'deals', max(id) from pg_temp.demo_deals
    union all
    select 'public', case demo.generation when '2025' then 'dealNotes' else 'deal_notes' end, max(note.id)
    from pg_temp.demo_deal_notes as note
    cross join pg_temp.demo_parameters as demo
    group by demo.generation
    union all
    select 'public', case demo.generation when '2025' then 'contactNotes' else 'contact_notes' end, max(note.id)
    from pg_temp.demo_contact_notes as note
    cross join pg_temp.demo_parameters as demo
    group by demo.generation
    union all
    select 'public', 'tasks', max(id) from pg_temp.demo_tasks
) as sequence
where sequence.last is not null;
