-- what an administrator saved on the settings page
update public.configuration
set
    config = (
        select
            jsonb_build_object(
                'dealStages', demo.choices -> 'stages',
                'dealCategories', demo.choices -> 'categories',
                'companySectors', demo.choices -> 'sectors',
                'taskTypes', demo.choices -> 'task_types',
                'dealPipelineStatuses', jsonb_build_array('won'),
                'currency', 'CHF'
            )
        from (
            select jsonb_object_agg(list.name, list.choices) as choices
            from (
                select
                    section.name,
                    jsonb_agg(
                        jsonb_build_object('value', entry.value -> 'value', 'label', entry.value -> 'label')
                        order by entry.position
                    ) as choices
                from pg_temp.demo_parameters as stored
                cross join unnest(array['stages', 'categories', 'sectors', 'task_types']) as section (name)
                cross join lateral jsonb_array_elements(stored.parameters -> section.name) with ordinality
                    as entry (value, position)
                group by section.name
            ) as list
        ) as demo
    )
where id = 1;
