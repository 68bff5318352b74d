-- One row with all that the other files choose from.
create temporary table demo_words on commit drop as
select
    demo.contacts as contacts,
    greatest(demo.contacts / 4, 3) as companies,
    greatest(demo.contacts / 2, 3) as deals,
    demo.contacts * 6 / 5 as contact_notes,
    demo.contacts * 4 / 5 as deal_notes,
    demo.contacts / 2 as tasks,
    case when demo.contacts < 1000 then 4 else 9 end as sales,
    (demo.parameters #>> '{size,first_day}')::timestamptz as first_day,
    (demo.parameters #>> '{size,as_of}')::timestamptz as as_of,
    demo.parameters -> 'principals' as principals,
    demo.parameters -> 'distributors' as distributors,
    demo.parameters -> 'examples' as examples,
    pg_temp.weighted(demo.parameters -> 'categories', 'value') as categories,
    pg_temp.weighted(demo.parameters -> 'sectors', demo.word) as sectors,
    pg_temp.weighted(demo.parameters -> 'task_types', demo.word) as task_types,
    -- stages are stored as values by both generations
    pg_temp.weighted(demo.parameters -> 'stages', 'value') as stages,
    pg_temp.texts(list.words -> 'first_names') as first_names,
    pg_temp.texts(list.words -> 'last_names') as last_names,
    pg_temp.texts(list.words -> 'titles') as titles,
    pg_temp.texts(list.words -> 'venues') as venues,
    pg_temp.texts(list.words -> 'venue_names') as venue_names,
    pg_temp.texts(list.words -> 'brands') as brands,
    pg_temp.texts(list.words -> 'goods') as goods,
    pg_temp.texts(list.words -> 'regions') as regions,
    pg_temp.texts(list.words -> 'trades') as trades,
    pg_temp.texts(list.words -> 'deal_openings') as deal_openings,
    pg_temp.texts(list.words -> 'notes') as notes,
    pg_temp.texts(list.words -> 'tasks') as task_texts,
    pg_temp.texts(list.words -> 'cities') as cities,
    pg_temp.texts(list.words -> 'countries') as countries,
    pg_temp.texts(list.words -> 'states') as states,
    pg_temp.texts(list.words -> 'streets') as streets,
    pg_temp.texts(list.words -> 'contact_statuses') as contact_statuses,
    pg_temp.texts(list.words -> 'tag_names') as tag_names,
    pg_temp.texts(list.words -> 'tag_colors') as tag_colors
from (
    select
        *,
        case generation when '2025' then 'label' else 'value' end as word
    from pg_temp.demo_parameters
) as demo
cross join lateral (select demo.parameters -> 'words' as words) as list;

create temporary table demo_categories on commit drop as
select
    entry.value ->> 'value' as category,
    entry.value ->> case demo.generation when '2025' then 'label' else 'value' end as word,
    pg_temp.texts(entry.value -> 'goods') as goods
from pg_temp.demo_parameters as demo
cross join jsonb_array_elements(demo.parameters -> 'categories') as entry (value);
